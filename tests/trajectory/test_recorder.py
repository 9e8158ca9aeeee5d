"""The recorder: every event on disk at once, redacted; a failure never damages what is there."""

import json
import resource
import threading
from pathlib import Path

import pytest

from runbook_runner.core.errors import RecordingError
from runbook_runner.core.events import (
    AgentFinished,
    AgentMessage,
    Artifact,
    Event,
    Log,
    PhaseStarted,
    Recorded,
    RunStarted,
    ToolCalled,
    Unknown,
    parse_line,
)
from runbook_runner.core.redaction import Redactor
from runbook_runner.trajectory.folders import EVENTS_FILE
from runbook_runner.trajectory.recorder import Recorder
from runbook_runner.trajectory.store import read_events, repair


def lines(folder: Path) -> list[str]:
    return (folder / EVENTS_FILE).read_text().splitlines()


def test_an_event_is_on_disk_when_append_returns(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, Redactor({}))
    recorder.append(Log(message="one"))
    assert json.loads(lines(tmp_path)[0])["message"] == "one"
    recorder.append(AgentMessage(text="two\nlines é"))
    assert json.loads(lines(tmp_path)[1])["text"] == "two\nlines é"
    assert [json.loads(line)["seq"] for line in lines(tmp_path)] == [1, 2]


def test_readers_see_what_is_written_and_no_secret(tmp_path: Path) -> None:
    seen: list[Recorded] = []
    recorder = Recorder(tmp_path, Redactor({"KEY": "s3cret-value"}), [seen.append])
    recorder.append(ToolCalled(call_id="1", name="x", input={"s3cret-value": ["a s3cret-value b"]}))
    assert "s3cret-value" not in lines(tmp_path)[0]
    assert seen[0].line() == lines(tmp_path)[0]
    assert "***REDACTED:KEY***" in seen[0].line()


@pytest.mark.parametrize("word", ["warning", "completed", "agent", "agent.message", "exit", "local", "shell"])
def test_a_secret_that_is_a_word_of_an_event_changes_no_event(tmp_path: Path, word: str) -> None:
    recorder = Recorder(tmp_path, Redactor({"KEY": word}))
    started = RunStarted(
        trajectory_id="agent",
        collection="local",
        task="shell",
        author="agent",
        spec_digest="agent",
        init_params={"agent": "shell", "run": "completed"},
        step_config={},
        engine="agent",
    )
    finished = AgentFinished(exit_code=0, ended_by="exit", error_kind="warning")
    for event in (started, finished, Log(level="warning", message="", source="agent"), PhaseStarted(phase="agent")):
        recorder.append(event)
    assert [recorded.event for recorded in read_events(tmp_path)][:2] == [started, finished]
    recorder.append(Log(level="warning", message=f"it is {word}."))
    last = json.loads(lines(tmp_path)[-1])
    assert (last["level"], last["message"]) == ("warning", "it is ***REDACTED:KEY***.")


def test_a_real_secret_goes_from_names_and_ids_too(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, Redactor({"KEY": "s3cret-value", "PIN": "83749201"}))
    recorder.append(ToolCalled(call_id="s3cret-value", name="s3cret-value", input={"pin": 83749201}))
    recorder.append(
        Artifact(kind="result", path="a", sandbox_path="a", key="a", size=83749201, sha256="", content_type="")
    )
    called, artifact = map(json.loads, lines(tmp_path))
    assert called["call_id"] == called["name"] == "***REDACTED:KEY***"
    assert called["input"] == {"pin": "***REDACTED:PIN***"}
    assert artifact["size"] == 83749201


def test_a_reader_that_has_gone_does_not_stop_the_run(tmp_path: Path) -> None:
    def gone(_: Recorded) -> None:
        raise BrokenPipeError

    seen: list[Recorded] = []
    recorder = Recorder(tmp_path, Redactor({}), [gone, seen.append])
    recorder.append(Log(message="one"))
    recorder.append(Log(message="two"))
    assert len(seen) == 2


def test_many_threads_make_one_sequence(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, Redactor({}))
    threads = [
        threading.Thread(target=lambda: [recorder.append(Log(message="x")) for _ in range(50)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [recorded.seq for recorded in read_events(tmp_path)] == list(range(1, 401))


def test_no_room_is_a_clear_error_and_earlier_events_are_intact(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, Redactor({}))
    recorder.append(Log(message="before"))
    size = (tmp_path / EVENTS_FILE).stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, limits[1]))
    try:
        with pytest.raises(RecordingError, match="can't be recorded"):
            recorder.append(Log(message="x" * 1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / EVENTS_FILE).stat().st_size == size
    recorder.append(Log(message="after"))
    assert [event.seq for event in read_events(tmp_path)] == [1, 2]


@pytest.mark.parametrize("torn", ['{"seq":3,"ts":"2026', "{", "x" * 200_000])
def test_a_torn_last_line_is_left_out_and_can_be_mended(tmp_path: Path, torn: str) -> None:
    recorder = Recorder(tmp_path, Redactor({}))
    recorder.append(Log(message="one"))
    recorder.append(Log(message="two"))
    with (tmp_path / EVENTS_FILE).open("a") as log:
        log.write(torn)
    assert [event.seq for event in read_events(tmp_path)] == [1, 2]
    repair(tmp_path)
    Recorder(tmp_path, Redactor({}), first_seq=3).append(Log(message="three"))
    assert [json.loads(line)["seq"] for line in lines(tmp_path)] == [1, 2, 3]


def test_files_that_were_being_written_go_and_the_agents_hidden_ones_stay(tmp_path: Path) -> None:
    halves = ("model/blobs/.0a1b.part", ".trajectory.json.0a1b2c3d", ".results.0a1b.part", "agent/.sessions.0a1b.part")
    wholes = ("results/.env.example", "agent/sessions/a/.state", "model/calls.jsonl")
    for name in halves + wholes:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    repair(tmp_path)
    assert {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()} == set(wholes)


def test_an_event_of_a_newer_version_is_kept() -> None:
    line = '{"seq":1,"ts":"2026-01-01T00:00:00.000000Z","type":"brand.new","field":{"x":1}}'
    recorded = parse_line(line)
    assert recorded is not None
    assert isinstance(recorded.event, Unknown)
    assert json.loads(recorded.line()) == json.loads(line)


@pytest.mark.parametrize("event", [Log(message="m"), ToolCalled(call_id="c", name="n", input={"a": [1, None]})])
def test_a_line_reads_back_as_the_same_event(event: Event) -> None:
    recorded = Recorded(seq=7, ts="2026-01-01T00:00:00.000000Z", event=event)
    assert parse_line(recorded.line()) == recorded


@pytest.mark.parametrize(
    ("text", "is_read"), [("[[]" + ",[]" * 1_000_000 + "]", False), ('"' + "[{," * 400_000 + '"', True)]
)
def test_a_line_with_a_million_values_is_no_event_and_one_with_a_long_text_is(text: str, is_read: bool) -> None:
    line = '{"seq":1,"ts":"2026-01-01T00:00:00Z","type":"tool.called","call_id":"c","name":"n","input":{"a":%s}}'
    assert (parse_line(line % text) is not None) is is_read
