"""A log that came with a clone may be as long as it likes: what is held of it is bounded."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.core.criteria import Criteria
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import (
    AgentFinished,
    CheckFinished,
    ModelCalled,
    Recorded,
    RunStarted,
    ToolCalled,
    Usage,
)
from runbook_runner.runner.optimize.shown import read_shown
from runbook_runner.runner.replay.course import read_course, tool_calls_of
from runbook_runner.runner.replay.recorded_run import read_recorded_run
from runbook_runner.trajectory.diff.calls import compare_calls
from runbook_runner.trajectory.folders import EVENTS_FILE, SPEC_FILE

STARTED = RunStarted(
    trajectory_id="r", collection="c", task="t", author="a", spec_digest="", init_params={}, step_config={}, engine="e"
)
CALL = ToolCalled(call_id="c", name="Bash", input={"command": "x" * 3000})
CALLS = 12_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    events = [
        STARTED,
        *(CALL.model_copy(update={"call_id": str(n)}) for n in range(CALLS)),
        ModelCalled(number=1, dialect="d", model="m", source="replay", status=200, usage=Usage(api_calls=1), seconds=1),
        CheckFinished(id="k", name="k", status="pass", seconds=1),
        AgentFinished(exit_code=0, ended_by="exit"),
    ]
    lines = (Recorded(seq=seq, ts="2026-01-01T00:00:00Z", event=event).line() for seq, event in enumerate(events, 1))
    (tmp_path / EVENTS_FILE).write_text("".join(f"{line}\n" for line in lines))
    return tmp_path


@pytest.mark.parametrize(
    ("read", "most"),
    [
        (read_course, 2 << 20),
        (lambda folder: read_shown(folder, Criteria()), 60 << 20),  # of the first 10,000 calls the command is shown
        (lambda folder: compare_calls(tool_calls_of(folder), tool_calls_of(folder), str), 4 << 20),
    ],
)
def test_what_is_held_of_a_long_log_is_bounded(folder: Path, read: Callable[[Path], Any], most: int) -> None:
    tracemalloc.start()
    try:
        read(folder)
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def test_the_course_of_a_run_is_what_its_log_says(folder: Path) -> None:
    course = read_course(folder)
    assert (course.model_calls, course.answers, course.is_replayed, len(course.checks)) == (1, 1, True, 1)
    assert course.one(RunStarted) == STARTED
    same = compare_calls(tool_calls_of(folder), tool_calls_of(folder), str)
    assert (same.recorded, same.repeated, same.first_difference) == (CALLS, CALLS, None)
    other = compare_calls(tool_calls_of(folder), [CALL] * 500 + [CALL.model_copy(update={"name": "Read"})], str)
    assert (other.repeated, other.first_difference) == (501, 501)


def test_a_spec_with_a_million_values_is_refused(folder: Path) -> None:
    (folder / SPEC_FILE).write_text(json.dumps({"parameters": [[]] * 1_000_001}))
    with pytest.raises(InputError, match="more than 1,000,000 values"):
        read_recorded_run(folder, str(folder))
