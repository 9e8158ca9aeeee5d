"""The core: the same history always gives the same command."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook_runner.core.events import Event
from runbook_runner.workflows.interpreter import MOST_STEPS, Command, Execute, Finish, Interpreter, Retry
from runbook_runner.workflows.step_events import ChildFinished, StepAnswered, StepFinished, StepStarted


@dataclass
class Flow:
    configs: Mapping[str, Mapping[str, Any]]
    steps: list[str] = field(default_factory=list)
    init_params: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 1

    def own_parameters(self, step: str) -> frozenset[str]:
        return frozenset()

    def jumps(self, step: str) -> bool:
        return self.configs[step]["activity"] == "branch"

    def retry(self, step: str) -> Retry:
        return Retry(self.attempts, delay_s=1.0)


def told(flow: Flow, history: list[Event]) -> Interpreter:
    interpreter = Interpreter(flow, {}, {})
    for event in history:
        interpreter.see(event)
    return interpreter


def begun(command: Execute) -> StepStarted:
    return StepStarted(
        step=command.step,
        visit=command.visit,
        attempt=command.attempt,
        activity=command.activity,
        inputs=command.parameters,
        depends_on=command.depends_on,
    )


def ended(command: Execute, outputs: dict[str, Any] | None, error: str | None = None, **more: Any) -> StepFinished:
    status = "completed" if error is None else "failed"
    place = {"step": command.step, "visit": command.visit, "attempt": command.attempt}
    return StepFinished(**place, status=status, outputs=outputs, error=error, **more)


def execute(command: Command) -> Execute:
    assert isinstance(command, Execute), command
    return command


def test_steps_come_one_after_the_other_with_what_earlier_ones_have_given() -> None:
    flow = Flow(
        {
            "draft": {"activity": "text_echo", "text_path": "init_params.q"},
            "judge": {"activity": "judge", "item_path": "draft.outputs.text"},
        },
        ["draft", "judge"],
        {"q": "Why?"},
    )
    history: list[Event] = []
    first = execute(told(flow, history).next())
    assert (first.step, first.visit, first.parameters, first.depends_on) == ("draft", 1, {"text": "Why?"}, ())
    history += [begun(first), ended(first, {"text": "Because."})]
    second = execute(told(flow, history).next())
    assert (second.step, second.parameters, second.depends_on) == ("judge", {"item": "Because."}, ("draft",))
    history += [begun(second), ended(second, {})]
    assert told(flow, history).next() == Finish(None)


def test_a_path_that_leads_nowhere_is_absent_and_said() -> None:
    flow = Flow(
        {"a": {"activity": "x", "text": "written", "text_path": "init_params.none", "more_path": "a.outputs"}}, ["a"]
    )
    command = execute(told(flow, []).next())
    assert command.parameters == {"text": "written"}
    assert command.absent["text_path"] == "init_params has no 'none'. It is empty."
    assert command.absent["more_path"].startswith("There is no 'a' yet.")


def test_what_was_begun_is_gone_on_with_after_a_kill_with_the_same_inputs() -> None:
    flow = Flow({"a": {"activity": "x", "text_path": "init_params.q"}}, ["a"], {"q": 1})
    first = execute(told(flow, []).next())
    child = ChildFinished(step="a", visit=1, index=2, reference={"trajectory_id": "0badcafe"})
    answer = StepAnswered(step="a", visit=1, approved=True, author="me")
    again = execute(told(flow, [begun(first), child, answer]).next())
    assert again == first._replace(had_begun=True, children={2: child.reference}, answer=answer)


def test_a_step_that_fails_is_tried_again_and_then_ends_the_run() -> None:
    flow = Flow({"a": {"activity": "x"}}, ["a"], attempts=3)
    history: list[Event] = []
    delays = []
    for attempt in (1, 2, 3):
        command = execute(told(flow, history).next())
        assert (command.attempt, command.visit, command.had_begun) == (attempt, 1, False)
        delays.append(command.delay_s)
        history += [begun(command), ended(command, None, "no answer")]
    assert delays == [0, 1, 2]
    assert told(flow, history).next() == Finish("a: no answer")
    final = [begun(command), ended(command, None, "wrong", is_final=True)]
    assert told(flow, final).next() == Finish("a: wrong")


def test_a_branch_says_where_it_goes_on() -> None:
    flow = Flow(
        {"choose": {"activity": "branch"}, "one": {"activity": "x"}, "two": {"activity": "x"}}, ["choose", "one", "two"]
    )
    choice = execute(told(flow, []).next())
    history: list[Event] = [begun(choice), ended(choice, {"next_step": "two"})]
    assert execute(told(flow, history).next()).step == "two"
    history = [begun(choice), ended(choice, {"next_step": "three"})]
    assert told(flow, history).next() == Finish("choose: There is no step 'three' to go on with.")
    flow = Flow({"a": {"activity": "x"}, "b": {"activity": "x"}}, ["a", "b"])
    plain = execute(told(flow, []).next())
    assert execute(told(flow, [begun(plain), ended(plain, {"next_step": "a"})]).next()).step == "b"


def test_a_loop_without_end_has_one() -> None:
    flow = Flow({"again": {"activity": "branch"}}, ["again"])
    interpreter = Interpreter(flow, {}, {})
    count = 0
    while isinstance(command := interpreter.next(), Execute):
        count += 1
        assert command.visit == count
        interpreter.see(begun(command))
        interpreter.see(ended(command, {"next_step": "again"}))
    assert count == MOST_STEPS
    assert command == Finish("again: 10,000 steps have been executed; no more are.")


@pytest.mark.parametrize("steps", [[], ["a"]])
def test_without_steps_it_is_done_at_once(steps: list[str]) -> None:
    command = told(Flow({"a": {"activity": "x", "text_path": 7}}, steps), []).next()
    assert command == Finish(
        "a: text_path must be a path, as `draft.outputs.text`, and is a number." if steps else None
    )


NAMES = ["a", "b", "c", "d"]
_paths = st.sampled_from(
    ["init_params.n", "init_params.none", *(f"{name}.outputs.v" for name in NAMES), "a.outputs.list[*].v"]
)
_configs = st.fixed_dictionaries(
    {"activity": st.sampled_from(["x", "branch"])},
    optional={"v_path": _paths, "text": st.sampled_from(["plain", "{{ a.outputs.v }}", "{{ init_params.n }}"])},
)
_happens = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["kill", "fail", "final", "done", "child"]),
        "next": st.sampled_from([None, *NAMES]),
        "value": st.integers(0, 9),
    }
)


@settings(max_examples=150)
@given(st.fixed_dictionaries(dict.fromkeys(NAMES, _configs)), st.lists(_happens, max_size=25), st.integers(1, 3))
def test_from_every_prefix_of_a_history_it_gives_the_same_command(
    configs: dict[str, dict[str, Any]], happens: list[dict[str, Any]], attempts: int
) -> None:
    flow = Flow(configs, NAMES, {"n": 1}, attempts)
    history: list[Event] = []
    driven = Interpreter(flow, {}, {})
    commands = [(0, driven.next())]
    for what in happens:
        command = driven.next()
        if isinstance(command, Finish):
            break
        events: list[Event] = [begun(command)]
        if what["kind"] == "child":
            events.append(ChildFinished(step=command.step, visit=command.visit, index=what["value"], reference={}))
        elif what["kind"] != "kill":
            error = None if what["kind"] == "done" else "it failed"
            outputs = {"v": what["value"], "next_step": what["next"]} if error is None else None
            events.append(ended(command, outputs, error, is_final=what["kind"] == "final"))
        for event in events:
            driven.see(event)
            history.append(event)
            commands.append((len(history), driven.next()))
    for length, command in commands:
        assert told(flow, history[:length]).next() == command == told(flow, history[:length]).next()
