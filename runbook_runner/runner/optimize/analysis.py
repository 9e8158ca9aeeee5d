"""Runner, optimize: from a runbook and recorded runs of it to patterns and edits (contract §12.1). Nothing is run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from runbook_runner.core import settings
from runbook_runner.core.errors import InputError
from runbook_runner.core.settings import Settings
from runbook_runner.core.text import did_you_mean
from runbook_runner.runbook.document import Runbook, parse
from runbook_runner.runbook.sources.load import Source
from runbook_runner.runner.optimize.patterns import Material, Pattern, find_patterns
from runbook_runner.runner.optimize.places import Places
from runbook_runner.runner.optimize.proposals import Change, propose
from runbook_runner.runner.optimize.quoted import one_line
from runbook_runner.runner.optimize.shown import Shown, newest, read_shown
from runbook_runner.runner.request.resolve import task_of
from runbook_runner.trajectory.index.index import with_index
from runbook_runner.trajectory.index.names import find_folder

LAST: Final = 5
"""Runs that are looked at when none are named (contract §12.1)."""
MOST: Final = 100
_ONLY_ONE: Final = (
    "only one run is of use, {}: what fails, is repeated or takes long in it may be chance, so that it is no pattern; "
    "at least 2 runs are needed for that"
)


@dataclass(frozen=True)
class OptimizeRequest:
    names: tuple[str, ...] = ()
    """Ids of trajectories, their beginnings, or folders; empty: the last ones of the task."""
    last: int = LAST
    collection: str | None = None
    task: str | None = None
    """`None`: the one that a run of the runbook has by itself."""


@dataclass(frozen=True)
class Analysis:
    runs: tuple[Shown, ...]
    """The oldest first."""
    patterns: tuple[Pattern, ...]
    changes: tuple[Change, ...]
    text: str
    """The runbook with the changes."""
    unread: tuple[str, ...] = ()
    """Why other runs could not be read."""

    @property
    def useless(self) -> tuple[str, ...]:
        """The runs that show nothing of how runs of this runbook end, each with the reason."""
        return (*(f"{run.trajectory_id}: {run.no_use}" for run in self.runs if run.no_use), *self.unread)

    def without_use(self, text: str) -> "Analysis":
        """The same without patterns and changes, for an agent's session that no run is good enough for."""
        return replace(self, patterns=(), changes=(), text=text)

    @property
    def said(self) -> list[str]:
        """The patterns in words; when there is nothing to find them in, that."""
        if not self.patterns and all(run.no_use for run in self.runs):
            return [no_evidence("; ".join(self.useless))]
        return [*(pattern.summary for pattern in self.patterns), *self.caveats]

    @property
    def caveats(self) -> list[str]:
        """What can't be told from so few runs."""
        useful = [run.trajectory_id for run in self.runs if not run.no_use]
        return [_ONLY_ONE.format(useful[0])] if len(useful) == 1 else []


def no_evidence(why: str) -> str:
    return f"baseline trajectory produced no usable evidence: {why}"


def analyse(source: Source, request: OptimizeRequest) -> Analysis:
    """Raises InputError: the runbook is none, there are no such runs, or none of them can be read."""
    runbook = parse(source.text, source.name)
    runs, unread = list[Shown](), dict[str, InputError]()
    for folder in _folders(source, request):
        try:
            runs.append(read_shown(folder, runbook.criteria))
        except InputError as error:
            unread[folder.name] = error
    if not runs:
        raise next(iter(unread.values()))
    _require_own(source, runbook, runs, request)
    runs.sort(key=lambda run: run.created)
    patterns = find_patterns(Material(tuple(runs), runbook.criteria, Places(runbook)))
    text, changes = propose(runbook, patterns)
    left_out = tuple(one_line(f"{name}: {error.message}") for name, error in unread.items())
    return Analysis(tuple(runs), patterns, changes, text, left_out)


def _require_own(source: Source, runbook: Runbook, runs: Sequence[Shown], request: OptimizeRequest) -> None:
    """Raises InputError: a run that was named is one of another runbook, by its task and its title."""
    task = request.task or task_of(runbook, source.folder)
    for run in runs:
        if run.task != task and run.title != runbook.title:
            raise InputError(
                f"{run.trajectory_id} is a run of another runbook: {one_line(run.title or run.task)!r}.",
                where=source.name,
                hint=f"If it is one of this runbook under another title, say so with --task {run.task}.",
            )


def _folders(source: Source, request: OptimizeRequest) -> list[Path]:
    home = Settings.load().require_home()
    if not 1 <= request.last <= MOST or len(request.names) > MOST:
        raise InputError(f"From 1 to {MOST} runs can be looked at.")
    if request.names:
        return list(dict.fromkeys(find_folder(home, name) for name in request.names))
    collection = request.collection or settings.DEFAULT_COLLECTION
    task = request.task or task_of(parse(source.text, source.name), source.folder)
    if found := newest(home, collection, task, request.last):
        return found
    known = [str(name) for (name,) in with_index(home, lambda index: index.columns("DISTINCT task"))]
    hint = "Run it first, name the runs with --trajectories, or say --collection and --task."
    if task not in known and (meant := did_you_mean(task, known)):
        hint = f"{meant} {hint}"
    raise InputError(f"There are no recorded runs of {collection}/{task} in {home}.", hint=hint)


def as_json(analysis: Analysis) -> dict[str, Any]:
    """The contract's object, and beside it what it was found in."""
    return {
        **_object(analysis.runs[-1].trajectory_id, analysis.said),
        "proposed_changes": [
            {
                "section": change.section,
                "before": change.before,
                "after": change.after,
                "citations": list(change.citations),
                "line": change.line,
            }
            for change in analysis.changes
        ],
        "evidence": list(map(_evidence, analysis.patterns)),
        "trajectories": list(map(_row, analysis.runs)),
        "no_use": list(analysis.useless),
    }


def precheck_failed(error: InputError) -> dict[str, Any]:
    return _object(None, [f"precheck failed: {' '.join(str(error).split())}"])


def _object(trajectory_id: str | None, said: list[str]) -> dict[str, Any]:
    return {"type": "optimize_analysis", "trajectory_id": trajectory_id, "patterns": said, "proposed_changes": []}


def _evidence(pattern: Pattern) -> Mapping[str, Any]:
    step = pattern.place.step
    return {
        "family": pattern.family,
        "summary": pattern.summary,
        "step": step.title if step else None,
        "line": pattern.place.line,
        "seen": [{"trajectory_id": one.trajectory_id, "said": one.said} for one in pattern.evidence],
    }


def _row(run: Shown) -> Mapping[str, Any]:
    return {
        "trajectory_id": run.trajectory_id,
        "status": run.status,
        "verdict": run.verdict,
        "duration_seconds": run.seconds,
        "iterations": run.iterations,
        "score": run.score,
        "key_issue": run.key_issue,
    }


def markdown(analysis: Analysis, name: str, diff: str) -> str:
    """A report for people. diff: of the changes."""
    return "\n".join(_markdown(analysis, name, diff)) + "\n"


def _markdown(analysis: Analysis, name: str, diff: str) -> Iterator[str]:
    from runbook_runner.evaluation.publish import code_span

    yield from (f"# What the runs of {code_span(name)} have in common", "")
    yield from ("| Run | Status | Seconds | Iterations | Score | Key issue |", "|---|---|---|---|---|---|")
    for run in analysis.runs:
        cells = map(shown_cell, (run.seconds, run.iterations, run.score))
        status = run.verdict or run.status
        yield f"| {run.trajectory_id} | {status} | {' | '.join(cells)} | {code_span(run.key_issue)} |"
    yield from ("", "## Patterns", "")
    if not analysis.patterns:
        yield from (f"- {code_span(said)}" for said in analysis.said or ["none"])
    else:
        yield from (f"- {said}" for said in analysis.caveats)
    for pattern in analysis.patterns:
        where = f" (line {pattern.place.line})" if pattern.place.line else ""
        yield f"- **{pattern.family}**{where}: {pattern.summary}"
        yield from (f"  - {one.trajectory_id}: {one.said}" for one in pattern.evidence)
    yield from ("", "## Proposed edits", "")
    if not diff:
        yield "None."
        return
    yield from (f"    {line}" for line in diff.splitlines())


def shown_cell(value: float | None) -> str:
    return "–" if value is None else f"{value:g}" if isinstance(value, int) else f"{value:.1f}"
