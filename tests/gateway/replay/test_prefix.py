"""A recording answers up to the first request that changed; from there on its fallback does."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.core.events import Difference, ModelCalled, ReplayDiverged
from runbook_runner.core.redaction import Redactor
from runbook_runner.gateway import Cassette, load_prefix, load_script
from runbook_runner.gateway.cassette.cassette import INDEX_FILE
from runbook_runner.gateway.replay.index import open_index

SHELL = {"name": "Bash", "description": "Runs.", "input_schema": {"type": "object", "properties": {"command": {}}}}


def question(turns: int = 0, mission: str = "Do the work.", output: str = "fine") -> dict[str, Any]:
    """The request after so many tool calls."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": mission}]}]
    for n in range(turns):
        call = {"type": "tool_use", "id": f"script_{n + 1:04d}", "name": "Bash", "input": {"command": f"echo {n}"}}
        messages.append({"role": "assistant", "content": [call]})
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": f"{output} {n}"}
        messages.append({"role": "user", "content": [result]})
    return {"model": "m", "max_tokens": 9, "tools": [SHELL], "messages": messages}


@pytest.fixture
def script(tmp_path: Path) -> Any:
    file = tmp_path / "model.yaml"
    file.write_text("".join(f"- shell: echo {n}\n  usage: {{input: 10, output: 1, cost: 0.5}}\n" for n in range(4)))
    return load_script(file)


@pytest.fixture
def recorded(connect: Any, script: Any) -> Path:
    line = connect(script)
    for n in range(4):
        assert line.post(**question(n)).status_code == 200
    line.settled()
    return Path(line.cassette.folder)


def sources(line: Any) -> list[str]:
    return [event.source for event in line.events if isinstance(event, ModelCalled)]


def diverged(line: Any) -> list[ReplayDiverged]:
    return [event for event in line.events if isinstance(event, ReplayDiverged)]


def test_the_same_requests_get_the_recorded_answers_and_the_fallback_is_not_asked(
    connect: Any, recorded: Path, script: Any
) -> None:
    line = connect(load_prefix(open_index(recorded), script))
    for n in range(4):
        line.post(**question(n))
    assert sources(line) == ["replay"] * 4
    assert diverged(line) == []
    assert sum(event.usage.cost_usd for event in line.events if isinstance(event, ModelCalled)) == 2.0


def test_from_the_first_request_that_changed_the_fallback_answers_and_goes_on_where_the_recording_was(
    connect: Any, recorded: Path, script: Any
) -> None:
    line = connect(load_prefix(open_index(recorded), script))
    line.post(**question(0))
    line.post(**question(1))
    changed = line.post(**question(2, output="other")).json()
    assert changed["content"][0]["input"] == {"command": "echo 2"}, "the third turn of the script"
    # This one was recorded, but what came before it was not the same.
    line.post(**question(3))
    assert sources(line) == ["replay", "replay", "script", "script"]
    (event,) = diverged(line)
    assert (event.number, event.recorded, event.served) == (3, 3, "script")
    assert {difference.after for difference in event.differences} == {"other 0", "other 1"}


def test_an_answer_is_given_once(connect: Any, recorded: Path, script: Any) -> None:
    line = connect(load_prefix(open_index(recorded), script))
    line.post(**question(0))
    line.post(**question(0))
    assert sources(line) == ["replay", "script"]


def test_a_recorded_failure_is_no_answer(connect: Any, recorded: Path, script: Any) -> None:
    index = recorded / INDEX_FILE
    lines = [json.loads(line) for line in index.read_text().splitlines()]
    lines[1] |= {"status": 529, "error": "busy"}
    index.write_text("".join(json.dumps(line) + "\n" for line in lines))
    line = connect(load_prefix(open_index(recorded), script))
    line.post(**question(0))
    line.post(**question(1))
    assert sources(line) == ["replay", "script"]


def test_the_recording_of_a_longer_run_ends_the_shorter_one_in_the_same_way(
    connect: Any, recorded: Path, script: Any
) -> None:
    line = connect(load_prefix(open_index(recorded), replace(script, turns=script.turns[:2], lines=script.lines[:2])))
    line.post(**question(0))
    refused = line.post(**question(3, output="other"))
    assert refused.status_code == 200
    again = line.post(**question(2, output="other"))
    assert (again.status_code, sources(line)[0]) == (400, "replay")
    assert "ended after 2 turns" in again.text


def test_a_known_edit_counts_as_the_same_up_to_a_call_and_is_told(connect: Any, recorded: Path, script: Any) -> None:
    edit = Difference(path="prompt", line=1, origin="user", before="Do the work.", after="Do other work.")
    prefix = load_prefix(open_index(recorded), script, until=2, edit=(edit,))
    back: Callable[[str], str] = lambda text: text.replace("Do other work.", "Do the work.")  # noqa: E731
    line = connect(replace(prefix, to_recorded=back), cassette=Cassette(recorded.parent / "new", Redactor({})))
    for n in range(4):
        line.post(**question(n, mission="Do other work."))
    line.settled()
    assert sources(line) == ["replay", "replay", "script", "script"]
    first, second, third = diverged(line)
    assert (first.severity, first.served, first.differences) == ("minor", "recorded", (edit,))
    assert (second.served, second.differences, second.total) == ("recorded", (), 1)
    assert (third.severity, third.served, third.recorded) == ("major", "script", 3)
    kept = line.cassette.read(1).request
    assert kept["messages"][0]["content"][0]["text"] == "Do other work.", "it is recorded as it was asked"


def test_answers_that_were_removed_are_asked_for_anew(connect: Any, recorded: Path, script: Any) -> None:
    index = open_index(recorded)
    line = connect(load_prefix(index, script))
    line.post(**question(0))
    for file in recorded.rglob("*"):
        if file.is_file():
            file.unlink()
    assert line.post(**question(1)).status_code == 200
    line.post(**question(2))
    assert sources(line) == ["replay", "script", "script"]
