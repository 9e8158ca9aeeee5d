"""The tree of a run: what people read, of logs that may be damaged, endless or of another version."""

import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runbook_runner.core.events import (
    AgentMessage,
    CheckFinished,
    Event,
    ModelCalled,
    PhaseFinished,
    PhaseStarted,
    Recorded,
    RunFinished,
    ToolCalled,
    ToolReturned,
    Unknown,
    Usage,
    parse_line,
)
from runbook_runner.trajectory.store import read_events
from runbook_runner.trajectory.tree import MOST_NODES, MOST_TEXT, events_of_step, tree_of

AT = "2026-11-30T06:00:{:02}.000000Z"


def recorded(*events: Event) -> Iterator[Recorded]:
    for number, event in enumerate(events, 1):
        yield Recorded(seq=number, ts=AT.format(number % 60), event=event)


def called(call_id: str, parent: str | None = None, **given: Any) -> ToolCalled:
    return ToolCalled(call_id=call_id, name="Bash", input=given or {"command": "ls"}, parent_call_id=parent)


def model(**fields: Any) -> ModelCalled:
    usage = Usage(prompt_tokens=10, completion_tokens=5, cost_usd=0.5, api_calls=1)
    return ModelCalled(
        **{"number": 1, "dialect": "d", "model": "m", "source": "provider", "status": 200, "usage": usage, "seconds": 1}
        | fields
    )


def test_what_an_agent_does_lies_in_its_phase_and_what_a_subagent_does_below_its_call() -> None:
    tree = tree_of(
        recorded(
            PhaseStarted(phase="agent"),
            AgentMessage(text="I'll ask."),
            called("task"),
            AgentMessage(text="sub", parent_call_id="task"),
            called("inner", "task"),
            ToolReturned(call_id="inner", output="deep", exit_code=1, parent_call_id="task"),
            ToolReturned(call_id="task", output="done"),
            model(),
            PhaseFinished(phase="agent", seconds=7),
            PhaseStarted(phase="evaluate"),
            CheckFinished(id="c1", name="c", status="fail", message="no", seconds=1),
            model(asker="judge"),
            PhaseFinished(phase="evaluate", seconds=1, ok=False),
        )
    )
    agent, evaluate = tree.nodes
    assert [(node.kind, node.step) for node in agent.children] == [("message", 1), ("tool", 2), ("model", None)]
    task = agent.children[1]
    assert (task.output, task.ok, task.seconds) == ("done", True, 4.0)
    assert [(node.text, node.step, node.output, node.ok) for node in task.children] == [
        ("sub", 3, "", None), ("ls", 4, "deep", False)
    ]  # fmt: skip
    assert agent.usage == tree.usage
    assert (tree.usage.cost_usd, tree.judge_usage.cost_usd, tree.sources) == (0.5, 0.5, {"provider": 1})
    assert (evaluate.ok, evaluate.usage) == (False, None)
    assert [depth for depth, _ in tree.walk()] == [0, 1, 1, 2, 2, 1, 0, 1, 1]


def test_what_is_too_much_is_counted_and_the_end_is_still_seen() -> None:
    calls = (called(str(number)) for number in range(MOST_NODES + 7))
    events = [PhaseStarted(phase="agent"), AgentMessage(text="x" * (MOST_TEXT + 5)), *calls]
    last = [
        PhaseFinished(phase="agent", seconds=1),
        PhaseStarted(phase="collect"),
        RunFinished(status="completed", seconds=2),
    ]
    tree = tree_of(recorded(*events, *last))
    assert tree.left_out == {"tool": 9}
    assert [node.title for node in tree.nodes] == ["agent", "collect"]
    assert len(tree.nodes[0].children[0].text) == MOST_TEXT + 1
    assert tree.steps == MOST_NODES + 8
    assert tree.finished
    (found,) = events_of_step(recorded(*events), MOST_NODES + 8)
    assert isinstance(found.event, ToolCalled)
    assert found.event.call_id == str(MOST_NODES + 6)


def test_subagents_in_each_other_without_end_stay_writable() -> None:
    tree = tree_of(recorded(*(called(str(number), str(number - 1)) for number in range(1, 3000))))
    assert max(depth for depth, _ in tree.walk()) == 50
    assert sum(1 for _ in tree.walk()) == 2999


def test_events_of_a_newer_version_and_gaps_are_counted() -> None:
    lines = ['{"seq":1,"ts":"x","type":"agent.dreamt","of":1}', '{"seq":4,"ts":"y","type":"tool.called","call_id":"a"}']
    known = list(filter(None, map(parse_line, lines)))
    assert isinstance(known[0].event, Unknown)
    tree = tree_of([*known, Recorded(seq=5, ts="not a time", event=ToolReturned(call_id="b", output=""))])
    assert tree.unknown == {"agent.dreamt": 1, "tool.called": 1}
    assert tree.gaps == 2


def test_a_clock_that_goes_back_gives_no_time() -> None:
    events = [called("a"), ToolReturned(call_id="a", output="x")]
    ahead, behind = recorded(*events)
    (node,) = tree_of([ahead._replace(ts=AT.format(50)), behind]).nodes
    assert (node.output, node.seconds) == ("x", None)


def test_a_long_log_is_read_in_little_memory(tmp_path: Path) -> None:
    with (tmp_path / "events.jsonl").open("w") as log:
        for number in range(1, 100_001):
            kind = {"type": "tool.called", "call_id": f"c{number}", "name": "Bash", "input": {"command": "x" * 500}}
            log.write(json.dumps({"seq": number, "ts": AT.format(1), **kind}) + "\n")
        log.write('{"seq": 100001, "ts": "torn')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tree = tree_of(read_events(tmp_path))
    assert tree.events == 100_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60 << 10  # KiB
