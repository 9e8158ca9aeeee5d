"""The fold: a pure function of the log that gives the contract's shape at any moment of a run."""

import json
from typing import Any

import jsonschema
import pytest

from runbook_runner.core.errors import InputError
from runbook_runner.core.events import (
    AgentFinished,
    AgentMessage,
    AgentStarted,
    AgentThinking,
    Artifact,
    Evaluated,
    Event,
    Log,
    ModelCalled,
    Recorded,
    RunFinished,
    RunStarted,
    SandboxStarted,
    Usage,
    parse_line,
)
from runbook_runner.trajectory.export.atif import to_atif
from runbook_runner.trajectory.fold import fold
from runbook_runner.trajectory.models import RunbookOutputs, Trajectory

STARTED = RunStarted(
    trajectory_id="bb2bb71e",
    collection="acme",
    task="t",
    author="me",
    spec_digest="sha256:0",
    init_params={"agent": "claude-code", "instruction": "# Do", "vars": {"a": 1}},
    step_config={"activity": "runbook"},
    labels={"quality": "high"},
    engine="runbook-runner/0",
)


def artifact(path: str, number: int, *, primary: int | None = None, kind: Any = "result") -> Artifact:
    key = f"acme/t/0000/bb2bb71e.run.{number:04d}.{path}"
    return Artifact(
        kind=kind,
        path=path,
        sandbox_path=f"/app/{path}",
        key=key,
        size=1,
        sha256="0",
        content_type="x/y",
        primary=primary,
    )


def call(number: int, **usage: int) -> ModelCalled:
    used = Usage(api_calls=1, **usage)
    return ModelCalled(
        number=number, dialect="anthropic", model="m", source="script", status=200, usage=used, seconds=1
    )


USED = {"api_calls": 1, "prompt_tokens": 1, "cost_usd": 0.25}
EVENTS: list[Event] = [
    STARTED,
    SandboxStarted(backend="docker", sandbox_id="c", image="i", image_digest="sha256:1", app="/app"),
    AgentStarted(agent="claude-code", version="1", model="m", provider="p"),
    call(1, prompt_tokens=10, completion_tokens=5, cache_read_tokens=3),
    call(2, prompt_tokens=20, completion_tokens=7),
    AgentFinished(exit_code=0, ended_by="exit", text="Done.", usage=Usage(prompt_tokens=30, cost_usd=0.5)),
    artifact("results/a.md", 0),
    artifact("results/b.md", 1, primary=0),
    artifact("agent/s.jsonl", 2, kind="agent"),
    Evaluated(verdict="pass", success=True, overall_passed=True, validation_report={"overall_passed": True}),
    RunFinished(status="completed", seconds=12.5),
]


def recorded(events: list[Event]) -> list[Recorded]:
    return [Recorded(seq=n, ts=f"2026-01-01T00:00:{n:02d}.000000Z", event=event) for n, event in enumerate(events, 1)]


def outputs(events: list[Event]) -> RunbookOutputs:
    found = fold(recorded(events)).steps["run"].outputs
    assert isinstance(found, RunbookOutputs)
    return found


def test_a_whole_run_has_the_contracts_shape() -> None:
    trajectory = fold(recorded(EVENTS))
    assert trajectory.name == "acme/t"
    assert trajectory.storage_path == "acme/t/0000"
    assert trajectory.status == "completed"
    assert trajectory.completed_steps == trajectory.total_steps == ["run"]
    assert trajectory.steps["run"].duration_seconds == 12.5
    assert [(label.key, label.value, label.author) for label in trajectory.labels] == [("quality", "high", "me")]
    assert "instruction" not in trajectory.steps["run"].inputs
    assert trajectory.attributes.params["sandbox"]["image_digest"] == "sha256:1"


def test_results_come_first_and_primary_files_in_their_order() -> None:
    found = outputs(EVENTS)
    assert [file.path[-4:] for file in found.results_files] == ["a.md", "b.md"]
    assert [file.path.rsplit("/")[-1] for file in found.files][-1] == "s.jsonl"
    assert found.primary_files == ["acme/t/0000/bb2bb71e.run.0001.results/b.md"]


def test_without_primary_outputs_the_first_result_is_the_headline() -> None:
    assert outputs([e for e in EVENTS if not (isinstance(e, Artifact) and e.primary == 0)]).primary_files == [
        "acme/t/0000/bb2bb71e.run.0000.results/a.md"
    ]


def test_tokens_and_money_come_from_the_gateway() -> None:
    usage = outputs(EVENTS).usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (30, 12, 42)
    assert (usage.cache_read_tokens, usage.api_calls, usage.cost_usd) == (3, 2, None)
    assert usage.duration_seconds == 3.0


def test_an_unknown_price_is_null_and_never_zero_or_the_clis_guess() -> None:
    assert outputs(EVENTS).usage.cost_usd is None


def test_a_cli_whose_calls_nobody_saw_tells_tokens_and_money() -> None:
    usage = outputs([e for e in EVENTS if not isinstance(e, ModelCalled)]).usage
    assert (usage.prompt_tokens, usage.cost_usd) == (30, 0.5)


def test_a_sum_with_an_unknown_price_is_unknown() -> None:
    known, unknown = Usage(api_calls=1, prompt_tokens=1, cost_usd=0.25), Usage(api_calls=1, prompt_tokens=1)
    assert (known + known + Usage()).cost_usd == 0.5
    assert (known + unknown).cost_usd is None
    assert (Usage() + Usage()).cost_usd is None


@pytest.mark.parametrize("number", ["9" * 4300, "-" + "9" * 4300, "1e308", "1e400", "NaN"])
def test_a_number_of_any_size_in_a_log_is_summed_and_written(number: str) -> None:
    """Python writes no integer of more than 4300 digits, which the sum of two may have, and JSON has no infinity."""
    line = call(2, prompt_tokens=7, cache_read_tokens=7).model_dump_json().replace(":7", f":{number}")
    called = parse_line(f'{{"seq": 1, "ts": "", {line[1:]}'.replace('"cost_usd":null', f'"cost_usd":{number}'))
    assert called
    events = recorded([STARTED, called.event, called.event])
    assert json.loads(fold(events).model_dump_json())["steps"]["run"]["outputs"]["usage"]["api_calls"] == 2
    json.dumps([to_atif(events), [event.line() for event in events]], allow_nan=False)


def test_a_line_whose_number_none_can_follow_is_no_event() -> None:
    line = Recorded(seq=7, ts="", event=STARTED).line()
    assert parse_line(line)
    assert parse_line(line.replace(":7,", f":{'9' * 4300},")) is None


@pytest.mark.parametrize("length", range(1, len(EVENTS) + 1))
def test_every_prefix_of_a_log_folds_to_a_valid_trajectory(length: int) -> None:
    trajectory = fold(recorded(EVENTS[:length]))
    jsonschema.Draft202012Validator(Trajectory.model_json_schema()).validate(trajectory.model_dump(mode="json"))
    assert trajectory.status == ("completed" if length == len(EVENTS) else "running")
    assert to_atif(recorded(EVENTS[:length]))["steps"][0]["source"] == "user"


def test_a_step_is_put_together_once_however_many_pieces_it_has() -> None:
    pieces = [AgentThinking(text="hm"), AgentMessage(text="0123456789" * 4)] * 100_000
    steps = to_atif(recorded([*pieces]))["steps"]
    assert len(steps) == 3, "a step has 8 million characters at most"
    assert "\n".join(step["message"] for step in steps) == "\n".join(["0123456789" * 4] * 100_000)
    assert "".join(step["reasoning_content"] for step in steps) == "hm" * 100_000


def test_the_same_log_folds_to_the_same_bytes() -> None:
    assert fold(recorded(EVENTS)).model_dump_json() == fold(recorded(EVENTS)).model_dump_json()


def test_warnings_are_in_the_trajectorys_events() -> None:
    trajectory = fold(recorded([STARTED, Log(level="warning", message="careful"), Log(level="debug", message="noise")]))
    assert [(event.level, event.message) for event in trajectory.events] == [("warning", "careful")]


def test_a_log_that_has_lost_a_line_says_so_and_knows_no_cost() -> None:
    calls = [ModelCalled.model_validate(call(n).model_dump() | {"usage": USED}) for n in (1, 2, 3)]
    whole = recorded([STARTED, *calls, RunFinished(status="completed", seconds=1)])
    assert fold(whole).steps["run"].outputs.usage.cost_usd == 0.75
    for lost in (1, 2, 3):
        trajectory = fold([*whole[:lost], *whole[lost + 1 :]])
        (note,) = [event for event in trajectory.events if event.level == "warning"]
        assert "damaged" in note.message
        usage = trajectory.steps["run"].outputs.usage
        assert (usage.api_calls, usage.cost_usd) == (2, None)
        assert trajectory.attributes.params["spent"]["cost_usd"] is None
    assert fold(whole[:3]).events == [], "a log that only ends early is not damaged"


def test_a_log_that_begins_elsewhere_is_refused() -> None:
    for events in ([], EVENTS[1:]):
        with pytest.raises(InputError):
            fold(recorded(events))


def test_a_file_that_was_collected_twice_is_one_file() -> None:
    again = outputs([*EVENTS[:-1], artifact("results/a.md", 0), EVENTS[-1]])
    assert again.results_files == outputs(EVENTS).results_files
