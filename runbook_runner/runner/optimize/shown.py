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
    CheckFinished,
    Evaluated,
    Event,
    Recorded,
    RunStarted,
    SandboxStarted,
    ToolCalled,
    ToolReturned,
)
from runbook_runner.core.files import is_file, read_stream
from runbook_runner.core.spec import Limits
from runbook_runner.core.text import last_line
from runbook_runner.evaluation.entries import Check, read_entries
from runbook_runner.evaluation.points import Point
from runbook_runner.runner.optimize.quoted import one_line
from runbook_runner.runner.outcome import Outcome
from runbook_runner.sandbox.paths import app_restorer
from runbook_runner.trajectory.fold import fold
from runbook_runner.trajectory.folders import EVENTS_FILE, MOST_SPEC_BYTES, RESULTS, SPEC_FILE
from runbook_runner.trajectory.index.index import with_index
from runbook_runner.trajectory.index.names import folder_of
from runbook_runner.trajectory.models import RunbookOutputs
from runbook_runner.trajectory.store import read_events

MOST_CALLS: Final = 10_000  # tool calls of a run that are looked at
_CODE: Final = ("command", "code", "cmd", "script")


class Call(NamedTuple):
    """A tool call of the agent."""

    tool: str
    code: str
    """The command, or the whole input as JSON."""
    heading: str
    """Of the step it belongs to, where the agent says so; else empty."""
    failed: bool
    exit_code: int | None
    error: str
    """The last line of the output of a call that failed."""
    seconds: float

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
    recorded = list(read_events(folder))
    try:
        trajectory = fold(recorded)
    except InputError as error:
        raise InputError(error.message, where=str(folder), hint=error.hint) from error
    seen = [one.event for one in recorded]
    evaluated = next((event for event in reversed(seen) if isinstance(event, Evaluated)), None)
    end = next((event for event in reversed(seen) if isinstance(event, AgentFinished)), None)
    started = next(event for event in seen if isinstance(event, RunStarted))
    if not ids.is_name(started.trajectory_id):
        raise InputError("This run was recorded with an id that can't be.", where=str(folder), hint=ids.NAME_HINT)
    checks = tuple(event for event in seen if isinstance(event, CheckFinished))
    to_app, spec = app_restorer(_app(seen)), _spec(folder)
    outcome = Outcome(trajectory, folder, None, criteria, evaluated, checks)
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
        calls=tuple(_calls(recorded, to_app)),
        results=frozenset(
            event.path.removeprefix(f"{RESULTS}/")
            for event in seen
            if isinstance(event, Artifact) and event.kind == "result"
        ),
    )


def _app(seen: Iterable[Event]) -> str:
    """Where `/app` was in the run's sandbox."""
    app = next((event.app for event in seen if isinstance(event, SandboxStarted)), settings.APP)
    return app if app.strip("/") else settings.APP


def _in_app(points: Iterable[Point], to_app: Callable[[str], str]) -> Iterator[Point]:
    yield from (point._replace(message=to_app(point.message)) for point in points)


def _spec(folder: Path) -> Mapping[str, Any]:
    """As it was recorded; empty when it can't be read."""
    try:
        with open_regular(folder / SPEC_FILE) as file:
            body = json.loads(read_stream(file, str(folder), "spec", MOST_SPEC_BYTES))
    except (OSError, InputError, RecursionError, ValueError):
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


def _calls(recorded: Iterable[Recorded], to_app: Callable[[str], str]) -> Iterator[Call]:
    """Those of the main agent, in the order in which they were begun. One that did not return took until the agent's
    end, or its last sign. A command of two runs is the same one wherever `/app` was."""
    begun = dict[str, tuple[ToolCalled, str]]()
    returned = dict[str, tuple[ToolReturned, str]]()
    last = ""
    for one in recorded:
        event = one.event
        if isinstance(event, ToolCalled) and event.parent_call_id is None and len(begun) < MOST_CALLS:
            begun.setdefault(event.call_id, (event, one.ts))
        elif isinstance(event, ToolReturned) and event.call_id in begun:
            returned.setdefault(event.call_id, (event, one.ts))
        if isinstance(event, ToolCalled | ToolReturned | AgentMessage | AgentFinished):
            last = one.ts
    for call_id, (called, start) in begun.items():
        end, ts = returned.get(call_id, (None, last))
        failed = end.failed if end else False
        yield Call(
            tool=called.name,
            code=to_app(_code(called.input)),
            heading=str(called.input.get("heading") or ""),
            failed=failed,
            exit_code=end.exit_code if end else None,
            error=to_app(last_line(end.output)) if end and failed else "",
            seconds=_seconds(start, ts),
        )


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
