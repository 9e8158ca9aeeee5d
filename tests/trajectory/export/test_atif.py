"""A run as ATIF v1.7: whatever has happened in it, the public validator of the format finds no fault."""

from itertools import count

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
from runbook_runner.trajectory.export.atif import to_atif

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


def test_a_million_pieces_without_an_answer_take_linear_time():
    calls = (ToolCalled(call_id="1", name="A") for _ in range(20_000))
    document = to_atif(log(*calls))
    assert document["steps"][1]["tool_calls"][-1]["tool_call_id"] == "1#20000"


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
    document = to_atif(recorded.model_copy(update={"ts": times}) for recorded in log(*happened))
    assert problems(document) == []
    told = [*document["steps"], *(s for sub in document.get("subagent_trajectories", []) for s in sub["steps"])]
    for step in told:
        ids = [one["tool_call_id"] for one in step.get("tool_calls", [])]
        assert len(ids) == len(set(ids))
    answers = [result for step in told for result in step.get("observation", {}).get("results", [])]
    given_answers = sum(isinstance(event, ToolReturned) for event in happened)
    assert sum("content" in result for result in answers) == given_answers
