"""A run as ATIF v1.7: whatever has happened in it, the public validator of the format finds no fault."""

import tracemalloc
from itertools import chain, count
from tempfile import TemporaryFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_runner.core.events import (
    AgentFinished,
    AgentMessage,
    AgentStarted,
    AgentThinking,
    Evaluated,
    ModelCalled,
    Recorded,
    RunFinished,
    RunStarted,
    ToolCalled,
    ToolReturned,
    Usage,
)
from runbook_runner.trajectory.export.atif import to_atif, write_atif

STARTED = RunStarted(
    trajectory_id="bb2bb71e",
    collection="acme",
    task="t",
    author="a",
    spec_digest="",
    init_params={"instruction": "Do it.", "agent": "claude-code"},
    step_config={},
    engine="e",
)
AGENT = AgentStarted(agent="claude-code", version="2.1", model="m")


def log(*events):
    seconds = count()
    return [
        Recorded(seq=n + 1, ts=f"2026-07-01T09:{next(seconds) // 60:02}:{n % 60:02}Z", event=e)
        for n, e in enumerate((STARTED, AGENT, *events))
    ]


def call(tokens=10, **changed):
    usage = Usage(prompt_tokens=tokens, completion_tokens=1, cache_read_tokens=5, cost_usd=0.5, api_calls=1)
    known = {"number": 1, "dialect": "d", "model": "m", "source": "provider", "status": 200, "seconds": 1.0}
    return ModelCalled(**{**known, "usage": usage, **changed})


def problems(document):
    from harbor.utils.trajectory_validator import TrajectoryValidator

    validator = TrajectoryValidator()
    validator.validate(document)
    return validator.get_errors()


def results(step):
    return [(result.get("source_call_id"), result.get("content")) for result in step["observation"]["results"]]


def test_each_step_has_the_tokens_and_the_price_of_its_model_calls():
    document = to_atif(
        log(
            call(),
            AgentThinking(text="Hm."),
            AgentMessage(text="I look."),
            ToolCalled(call_id="1", name="Bash", input={"command": "ls"}),
            ToolReturned(call_id="1", output="a", exit_code=0),
            call(20, model="small"),
            call(30, model="small"),
            AgentMessage(text="Done."),
            AgentFinished(exit_code=0, ended_by="exit", text="Done."),
            Evaluated(verdict="pass", success=True),
            RunFinished(status="completed", seconds=2),
        )
    )
    _, first, second = document["steps"]
    assert first["metrics"] == {"prompt_tokens": 15, "completion_tokens": 1, "cached_tokens": 5, "cost_usd": 0.5}
    assert (first["llm_call_count"], first["reasoning_content"], first.get("model_name")) == (1, "Hm.", None)
    assert (second["llm_call_count"], second["metrics"]["prompt_tokens"], second["model_name"]) == (2, 60, "small")
    assert document["final_metrics"]["total_prompt_tokens"] == 75
    assert document["extra"]["runbook_runner"]["verdict"] == "pass"


def test_calls_at_the_same_time_stay_in_one_step_with_their_answers():
    document = to_atif(
        log(
            ToolCalled(call_id="a", name="Bash"),
            ToolCalled(call_id="b", name="Bash"),
            ToolReturned(call_id="b", output="of b"),
            AgentMessage(text="b has ended."),
            ToolReturned(call_id="a", output="of a"),
        )
    )
    assert results(document["steps"][1]) == [("b", "of b"), ("a", "of a")]
    assert [step["step_id"] for step in document["steps"]] == [1, 2, 3]


def test_two_calls_of_one_id_and_an_answer_without_a_call_are_all_there():
    document = to_atif(
        log(
            ToolCalled(call_id="1", name="A"),
            ToolCalled(call_id="1", name="B"),
            ToolReturned(call_id="1", output="of A"),
            ToolReturned(call_id="1", output="of B"),
            ToolReturned(call_id="1", output="of nothing"),
        )
    )
    assert [one["tool_call_id"] for one in document["steps"][1]["tool_calls"]] == ["1", "1#2"]
    assert results(document["steps"][1]) == [("1", "of A"), ("1#2", "of B")]
    assert results(document["steps"][2]) == [(None, "of nothing")]


def test_a_subagent_has_its_own_trajectory_to_which_its_call_refers():
    document = to_atif(
        log(
            ToolCalled(call_id="task", name="Task"),
            AgentMessage(text="Look around.", role="user", parent_call_id="task"),
            call(),
            ToolCalled(call_id="sub", name="Bash", parent_call_id="task"),
            ToolReturned(call_id="sub", output="x", parent_call_id="task"),
            AgentMessage(text="Seen.", parent_call_id="task"),
            ToolReturned(call_id="task", output="Seen."),
            call(20),
            AgentMessage(text="Done."),
        )
    )
    (inner,) = document["subagent_trajectories"]
    assert [step["message"] for step in inner["steps"]] == ["Look around.", "", "Seen."]
    (result,) = document["steps"][1]["observation"]["results"]
    assert result["subagent_trajectory_ref"] == [{"trajectory_id": inner["trajectory_id"]}]
    assert "metrics" not in document["steps"][1], "it is not known whose call that was"
    assert document["steps"][2]["metrics"]["prompt_tokens"] == 25


def test_a_run_that_was_killed_refers_to_the_subagent_that_had_not_answered():
    document = to_atif(
        log(ToolCalled(call_id="task", name="Task"), AgentMessage(text="I begin.", parent_call_id="task"))
    )
    (result,) = document["steps"][1]["observation"]["results"]
    assert result["source_call_id"] == "task"
    assert document["extra"]["runbook_runner"]["status"] == "running"


def peak_megabytes(events):
    """Of Python's memory, while they are exported to a file."""
    tracemalloc.start()
    try:
        with TemporaryFile() as out:
            write_atif(events, out)
        return tracemalloc.get_traced_memory()[1] / (1 << 20)
    finally:
        tracemalloc.stop()


def test_a_step_of_very_many_calls_is_cut_into_several():
    document = to_atif(log(*(ToolCalled(call_id="1", name="A") for _ in range(2500))))
    calls = [[one["tool_call_id"] for one in step["tool_calls"]] for step in document["steps"][1:]]
    assert [(len(ids), ids[-1]) for ids in calls] == [(1000, "1#1000"), (1000, "1#1000"), (500, "1#500")]


PIECES = {
    "calls of one id": lambda _: [ToolCalled(call_id="1", name="A", input={"command": "x" * 100})],
    "calls": lambda number: [ToolCalled(call_id=str(number), name="A", input={"command": "x" * 100})],
    "calls and messages": lambda number: [
        ToolCalled(call_id=str(number), name="A"),
        AgentMessage(text="x", role="user"),
    ],
    "messages": lambda _: [AgentMessage(text="x" * 100)],
    "model calls": lambda _: [call()],
}


@pytest.mark.parametrize("kind", PIECES)
def test_pieces_that_get_no_answer_take_no_more_memory_however_many(kind):
    def events(number):
        yield from log()
        for n in range(number):
            for event in PIECES[kind](n):
                yield Recorded(seq=n + 3, ts="2026-07-01T09:00:00Z", event=event)

    assert peak_megabytes(events(30_000)) < 12


def test_large_answers_that_wait_take_no_more_memory_however_many():
    def events():
        yield from log(ToolCalled(call_id="first", name="A"), AgentMessage(text="Then:", role="user"))
        for n in range(60):
            for event in (ToolCalled(call_id="1", name="A"), ToolReturned(call_id="1", output="x" * (1 << 20))):
                yield Recorded(seq=n + 9, ts="2026-07-01T09:00:00Z", event=event)

    assert peak_megabytes(events()) < 40


@pytest.mark.needs("harbor")
def test_very_many_subagents_share_the_memory_and_the_last_are_told_with_the_main_agent():
    def happened():
        for n in range(1100):
            yield ToolCalled(call_id=f"s{n}", name="Task")
        for _ in range(2):
            for n in range(1100):
                yield AgentMessage(text="x" * 60_000, parent_call_id=f"s{n}")

    def events():
        for number, event in enumerate(chain((STARTED,), happened())):
            yield Recorded(seq=number + 1, ts="2026-07-01T09:00:00Z", event=event)

    assert peak_megabytes(events()) < 60
    document = to_atif(events())
    assert problems(document) == []
    assert len(document["subagent_trajectories"]) == 1000
    parts = [document, *document["subagent_trajectories"]]
    assert sum(step["message"].count("x") for part in parts for step in part["steps"]) == 2200 * 60_000


@pytest.mark.needs("harbor")
def test_a_late_answer_to_one_of_very_many_calls_is_no_fault():
    calls = [ToolCalled(call_id=str(n), name="A") for n in range(3500)]
    document = to_atif(
        log(*calls, *(ToolReturned(call_id=str(n), output=f"of {n}") for n in (3499, 0)), AgentMessage(text="."))
    )
    assert problems(document) == []
    answers = [results(step) for step in document["steps"] if "observation" in step]
    assert sorted(answers, key=str) == [[("3499", "of 3499")], [(None, "of 0")]]


names = st.sampled_from(["1", "2", "", "1#2"])
parents = st.none() | names
events = st.one_of(
    st.builds(
        AgentMessage,
        text=st.text(max_size=3),
        role=st.sampled_from(["assistant", "user", "system"]),
        parent_call_id=parents,
    ),
    st.builds(AgentThinking, text=st.text(max_size=3), parent_call_id=parents),
    st.builds(ToolCalled, call_id=names, name=names, parent_call_id=parents),
    st.builds(ToolReturned, call_id=names, output=st.text(max_size=3), parent_call_id=parents),
    st.builds(call),
    st.just(AgentFinished(exit_code=None, ended_by="lost")),
    st.just(AgentStarted(agent="shell")),
)


@pytest.mark.needs("harbor")
@given(happened=st.lists(events, max_size=20), times=st.sampled_from(["2026-07-01T09:00:00Z", "", "no time"]))
def test_whatever_happens_the_public_validator_finds_no_fault(happened, times):
    document = to_atif(recorded._replace(ts=times) for recorded in log(*happened))
    assert problems(document) == []
    told = [*document["steps"], *(s for sub in document.get("subagent_trajectories", []) for s in sub["steps"])]
    for step in told:
        ids = [one["tool_call_id"] for one in step.get("tool_calls", [])]
        assert len(ids) == len(set(ids))
    answers = [result for step in told for result in step.get("observation", {}).get("results", [])]
    given_answers = sum(isinstance(event, ToolReturned) for event in happened)
    assert sum("content" in result for result in answers) == given_answers
