"""Runner, optimize: what one recorded run shows, as plain data. All texts of it come from an agent."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from runbook_runner.core import ids, settings
from runbook_runner.core.clock import seconds_between
from runbook_runner.core.criteria import Criteria
from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import (
    AgentFinished,
    AgentMessage,
    Artifact,
    Evaluated,
    Recorded,
    RunStarted,
    SandboxStarted,
    ToolCalled,
    ToolReturned,
)
from runbook_runner.core.files import is_file, read_stream
from runbook_runner.core.formats.json_toml import read_json
from runbook_runner.core.spec import Limits
from runbook_runner.core.text import last_line
from runbook_runner.evaluation.entries import Check, read_entries
from runbook_runner.evaluation.points import Point
from runbook_runner.runner.optimize.quoted import one_line
from runbook_runner.runner.outcome import Outcome
from runbook_runner.runner.replay.course import Course
from runbook_runner.sandbox.paths import app_restorer
from runbook_runner.trajectory.fold import fold
from runbook_runner.trajectory.folders import EVENTS_FILE, MOST_SPEC_BYTES, RESULTS, SPEC_FILE
from runbook_runner.trajectory.index.index import with_index
from runbook_runner.trajectory.index.names import folder_of
from runbook_runner.trajectory.models import RunbookOutputs
from runbook_runner.trajectory.store import read_events

MOST_CALLS: Final = 10_000  # tool calls of a run that are looked at
_LONGEST: Final = 10_000
"""Characters of what is looked at of a command and of each other text of a call."""
_CODE: Final = ("command", "code", "cmd", "script")


class Call(NamedTuple):
    """A tool call of the agent."""

    tool: str
    code: str
    """The command, or the input as JSON."""
    heading: str
    """Of the step it belongs to, where the agent says so; else empty."""
    failed: bool = False
    exit_code: int | None = None
    error: str = ""
    """The last line of the output of a call that failed."""
    seconds: float = 0.0

    @property
    def kind(self) -> str:
        """The tool, and the program that it was called for."""
        return " ".join([self.tool, *self.code.split(maxsplit=1)[:1]])[:200]


@dataclass(frozen=True)
class Shown:
    trajectory_id: str
    folder: Path
    created: str
    task: str
    title: str
    """Of the runbook that was run; empty: not known."""
    status: str
    verdict: str | None
    seconds: float | None
    agent_seconds: float
    spec_digest: str
    error: str
    """Why it did not complete; else empty."""
    ended_by: str | None
    """`deadline` and `idle`: a limit has ended the agent."""
    limits: Limits
    iterations: int | None
    """As its report says; `None`: it does not."""
    score: float | None
    """The mean of `judged`; `None`: nothing was scored."""
    points: tuple[Point, ...]
    """All that it was judged by; none of a run that did not complete."""
    judged: tuple[Check, ...]
    """The criteria that have a score, by the engine's judge or, without one, by the agent itself."""
    calls: tuple[Call, ...]
    results: frozenset[str]
    """Below the results."""

    @property
    def no_use(self) -> str:
        """Why it says nothing about how runs of the runbook end; empty when it does."""
        if self.status != "completed":
            return f"its status is {self.status}" + (f": {self.error}" if self.error else "")
        return "" if self.results else "it has no outputs"

    @property
    def key_issue(self) -> str:
        bad = next((point for point in self.points if point.is_bad), None)
        return self.no_use or (one_line(f"{bad.id}: {bad.message}") if bad else "")


def newest(home: Path, collection: str, task: str, last: int) -> list[Path]:
    """The trajectory folders of a task's last runs, without those that came with the home. Raises InputError for names
    that can't be."""
    for name in (collection, task):
        if not ids.is_name(name):
            raise InputError(f"{name!r} can't be the name of a collection or a task.", hint=ids.NAME_HINT)
    where, order = "is_own = 1 AND collection = ? AND task = ?", "dated DESC, folder DESC"
    rows = with_index(home, lambda index: index.rows(where, (collection, task), order, last))
    return [folder for row in reversed(rows) if is_file((folder := folder_of(home, row)) / EVENTS_FILE)]


def read_shown(folder: Path, criteria: Criteria) -> Shown:
    """criteria: of the runbook as it is now, whose lines the points have. Raises InputError when the run can't be
    read."""
    course, calls, results = Course(), _Calls(), set[str]()
    try:
        trajectory = fold(calls.passing(_noting(results, course.passing(read_events(folder)))))
    except InputError as error:
        raise InputError(error.message, where=str(folder), hint=error.hint) from error
    evaluated, end, started = course.one(Evaluated), course.one(AgentFinished), course.one(RunStarted)
    assert started
    if not ids.is_name(started.trajectory_id):
        raise InputError("This run was recorded with an id that can't be.", where=str(folder), hint=ids.NAME_HINT)
    to_app, spec = app_restorer(_app(course)), _spec(folder)
    outcome = Outcome(trajectory, folder, None, criteria, evaluated, tuple(course.checks))
    outputs = trajectory.steps["run"].outputs
    assert isinstance(outputs, RunbookOutputs)
    completed = trajectory.status == "completed"
    scored = (evaluated and evaluated.judge) or outputs.validation_report
    judged = tuple(_judged(scored)) if completed else ()
    return Shown(
        trajectory_id=trajectory.trajectory_id,
        folder=folder,
        created=trajectory.created,
        task=started.task,
        title=title if isinstance(title := spec.get("title"), str) else "",
        status=trajectory.status,
        verdict=outputs.verdict,
        seconds=trajectory.steps["run"].duration_seconds,
        agent_seconds=outputs.usage.duration_seconds,
        spec_digest=started.spec_digest,
        error=one_line(to_app(trajectory.error or "")),
        ended_by=end.ended_by if end else None,
        limits=_limits(spec),
        iterations=_iterations(outputs.validation_report),
        score=fmean(entry.score or 0.0 for entry in judged) if judged else None,
        points=tuple(_in_app(outcome.points(), to_app)) if completed else (),
        judged=judged,
        calls=tuple(calls.found(to_app)),
        results=frozenset(results),
    )


def _noting(results: set[str], events: Iterator[Recorded]) -> Iterator[Recorded]:
    for recorded in events:
        if isinstance(recorded.event, Artifact) and recorded.event.kind == "result":
            results.add(recorded.event.path.removeprefix(f"{RESULTS}/"))
        yield recorded


def _app(course: Course) -> str:
    """Where `/app` was in the run's sandbox."""
    sandbox = course.one(SandboxStarted)
    return sandbox.app if sandbox and sandbox.app.strip("/") else settings.APP


def _in_app(points: Iterable[Point], to_app: Callable[[str], str]) -> Iterator[Point]:
    yield from (point._replace(message=to_app(point.message)) for point in points)


def _spec(folder: Path) -> Mapping[str, Any]:
    """As it was recorded; empty when it can't be read."""
    try:
        with open_regular(folder / SPEC_FILE) as file:
            body = read_json(read_stream(file, str(folder), "spec", MOST_SPEC_BYTES), str(folder))
    except (OSError, InputError):
        return {}
    return body if isinstance(body, dict) else {}


def _limits(spec: Mapping[str, Any]) -> Limits:
    try:
        return Limits.model_validate(spec["limits"])
    except (ValidationError, LookupError):
        return Limits()


def _iterations(report: Any) -> int | None:
    number = report.get("iterations") if isinstance(report, Mapping) else None
    return number if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 1000 else None


def _judged(report: Any) -> Iterator[Check]:
    listed = report.get("checks") if isinstance(report, Mapping) else None
    if isinstance(listed, Sequence) and not isinstance(listed, str):
        yield from (entry for entry in read_entries(listed) if entry.kind == "judge" and entry.score is not None)


class _Calls:
    """Those of the main agent, in the order in which they were begun. Of a log, which may have millions of events, only
    what is shown of the first MOST_CALLS is held."""

    def __init__(self) -> None:
        self._begun: dict[str, tuple[Call, str]] = {}
        """By the id of a call; with its begin, and as if it did not return."""
        self._returned: dict[str, tuple[Call, str]] = {}
        self._last = ""

    def passing(self, events: Iterator[Recorded]) -> Iterator[Recorded]:
        """The same events, which are noted as they pass."""
        for one in events:
            event = one.event
            if isinstance(event, ToolCalled) and event.parent_call_id is None and len(self._begun) < MOST_CALLS:
                heading = str(event.input.get("heading") or "")
                call = Call(event.name[:_LONGEST], _code(event.input)[:_LONGEST], heading[:_LONGEST])
                self._begun.setdefault(event.call_id, (call, one.ts))
            elif isinstance(event, ToolReturned) and event.call_id in self._begun:
                call, _ = self._begun[event.call_id]
                error = last_line(event.output) if event.failed else ""
                call = call._replace(failed=event.failed, exit_code=event.exit_code, error=error)
                self._returned.setdefault(event.call_id, (call, one.ts))
            if isinstance(event, ToolCalled | ToolReturned | AgentMessage | AgentFinished):
                self._last = one.ts
            yield one

    def found(self, to_app: Callable[[str], str]) -> Iterator[Call]:
        """One that did not return took until the agent's end, or its last sign. A command of two runs is the same one
        wherever `/app` was."""
        for call_id, (begun, start) in self._begun.items():
            call, end = self._returned.get(call_id, (begun, self._last))
            yield call._replace(code=to_app(call.code), error=to_app(call.error), seconds=_seconds(start, end))


def _code(given: Mapping[str, Any]) -> str:
    for name in _CODE:
        if isinstance(code := given.get(name), str) and code.strip():
            return code.strip()
    return json.dumps(given, sort_keys=True, ensure_ascii=False) if given else ""


def _seconds(start: str, end: str) -> float:
    try:
        return max(0.0, seconds_between(start, end))
    except (ValueError, TypeError, OverflowError):
        return 0.0
