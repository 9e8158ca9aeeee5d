"""Runner, optimize: the six families of patterns (contract §12.1), one function each: runs in, what they have in common
out. Nothing is a pattern that is not counted in the runs."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import zip_longest
from statistics import mean
from typing import Any, Final, Literal, NamedTuple

from runbook_runner.core.criteria import Criteria
from runbook_runner.core.text import counted
from runbook_runner.evaluation.points import Point
from runbook_runner.runner.optimize.places import Place, Places
from runbook_runner.runner.optimize.quoted import quoted
from runbook_runner.runner.optimize.shown import Call, Shown

Family = Literal[
    "consistent failure",
    "iteration waste",
    "time-out or bottleneck",
    "divergent behaviour",
    "missing guardrail",
    "score plateau",
]

FEWEST: Final = 2
"""Runs that have something in common."""
WEAK: Final = 4.0  # contract §12.1: a criterion below it is a failure
ROUNDS: Final = 2  # and from so many on, iterations are wasted
LONG_S: Final = 30.0  # a call that takes less is never a bottleneck
SHARE: Final = 0.5  # of the agent's time: a call that takes more is one
PLATEAU: Final = 0.25  # points that scores may differ by
SCORED: Final = 3  # runs that make a plateau
ALIKE: Final = 0.5  # of two sequences of calls, from 0 to 1: below it they diverge
_COMPARED: Final = 100  # calls of a run: for some it takes the cube of their number
_MOST: Final = 20  # patterns of a family
_BAD_KINDS: Final = ("output", "code_check", "checklist", "step", "script")
_CHECKED: Final = ("code_check", "checklist", "script")
"""Kinds whose errors are of the check itself, or of the one that carries it out: nothing that an agent can see to."""


_NOWHERE: Final = Place()


class Evidence(NamedTuple):
    trajectory_id: str
    said: str
    """What the run shows, with its numbers. Texts of the run are in code spans."""


@dataclass(frozen=True)
class Pattern:
    family: Family
    subject: str
    """What it is about, as the runbook or the agent names it. Not safe to write anywhere as it is."""
    summary: str
    evidence: tuple[Evidence, ...]
    place: Place = _NOWHERE
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What an edit is made of."""


@dataclass(frozen=True)
class Material:
    runs: tuple[Shown, ...]
    """All that could be read, the oldest first."""
    criteria: Criteria
    """Of the runbook as it is now."""
    places: Places

    @property
    def useful(self) -> tuple[Shown, ...]:
        return tuple(run for run in self.runs if not run.no_use)


def find_patterns(material: Material) -> tuple[Pattern, ...]:
    return tuple(pattern for find in _FAMILIES for _, pattern in zip(range(_MOST), find(material), strict=False))


def consistent_failures(material: Material) -> Iterator[Pattern]:
    """What fails in more than half of the runs; a criterion, also with a score below 4. That a check can't be carried
    out is told apart from what it finds."""
    runs = material.useful
    found: dict[tuple[str, str], list[tuple[Evidence, int | None, str]]] = defaultdict(list)
    for run in runs:
        for point in run.points:
            if point.is_bad and point.kind in _BAD_KINDS:
                evidence = Evidence(run.trajectory_id, quoted(point.message or point.status))
                found["error" if _is_error(point) else point.kind, point.id].append((evidence, point.line, point.name))
        lines = {point.id: point.line for point in run.points if point.kind == "judge"}
        for entry in run.judged:
            if entry.is_bad or (entry.score is not None and entry.score < min(WEAK, entry.max_score or WEAK)):
                evidence = Evidence(run.trajectory_id, f"score {entry.score:g}")
                found["judge", entry.id].append((evidence, lines.get(entry.id), entry.name))
    for (kind, name), seen in found.items():
        if _is_most(len(seen), runs):
            _, line, title = seen[-1]
            place = material.places.of_output(name) if kind == "output" else material.places.of_point(line, name)
            what = _WHAT.get(kind, f"The {kind} entry")
            how = "can't be carried out" if kind == "error" else "fails"
            yield Pattern(
                "consistent failure",
                name,
                f"{what} {quoted(name)} {how} in {len(seen)} of {counted(len(runs), 'run')}",
                tuple(evidence for evidence, _, _ in seen),
                place,
                {"kind": kind, "title": title, "of": len(runs)},
            )


_WHAT: Final = {"output": "The required output", "judge": "The criterion", "error": "The check"}


def _is_error(point: Point) -> bool:
    return point.kind in _CHECKED and point.status == "error"


def iteration_waste(material: Material) -> Iterator[Pattern]:
    """Rounds that the reports count, and calls that are repeated as they are, in more than half of the runs."""
    runs = material.useful
    many = [run for run in runs if run.iterations is not None and run.iterations >= ROUNDS]
    if _is_most(len(many), runs):
        rounds = [run.iterations or 0 for run in many]
        span = f"{min(rounds)}" if min(rounds) == max(rounds) else f"{min(rounds)} to {max(rounds)}"
        summary = f"{len(many)} of {counted(len(runs), 'run')} needed {span} rounds"
        evidence = tuple(Evidence(run.trajectory_id, f"{run.iterations} iterations") for run in many)
        yield Pattern("iteration waste", "rounds", summary, evidence, facts={"checked": _reworked(runs)})
    repeated: dict[tuple[str, str], list[tuple[Evidence, Call]]] = defaultdict(list)
    for run in runs:
        for key, calls in _by_code(run.calls).items():
            if len(calls) >= ROUNDS:
                said = f"{counted(len(calls), 'time')} in one run"
                repeated[key].append((Evidence(run.trajectory_id, said), calls[0]))
    for (tool, code), seen in repeated.items():
        if code and len(seen) > 1 and _is_most(len(seen), runs):
            yield Pattern(
                "iteration waste",
                code,
                f"{quoted(tool)} does {quoted(code)} more than once in {len(seen)} of {counted(len(runs), 'run')}",
                tuple(evidence for evidence, _ in seen),
                material.places.of_call(seen[0][1].heading, code),
            )


def _reworked(runs: Sequence[Shown]) -> tuple[str, ...]:
    """What was bad or weak in some run: to be looked at before the first report."""
    points = (point for run in runs for point in run.points if point.is_bad and not _is_error(point))
    bad = (point.id for point in points if point.kind in _BAD_KINDS)
    weak = (entry.id for run in runs for entry in run.judged if entry.score is not None and entry.score < WEAK)
    return tuple(dict.fromkeys([*bad, *weak]))


def bottlenecks(material: Material) -> Iterator[Pattern]:
    """Limits of time that ended the agent, and calls that take most of the agent's time in more than half of the
    runs."""
    for cause, what in (("deadline", "the time limit"), ("idle", "the limit without output")):
        stopped = [run for run in material.runs if run.ended_by == cause]
        if stopped:
            limits = [run.limits.timeout_s if cause == "deadline" else run.limits.idle_s for run in stopped]
            longest = [max(run.calls, key=lambda call: call.seconds, default=None) for run in stopped]
            evidence = tuple(
                Evidence(run.trajectory_id, f"ended after {limit:g} s{_slowest(call)}")
                for run, limit, call in zip(stopped, limits, longest, strict=True)
            )
            last = longest[-1]
            place = material.places.of_call(last.heading, last.code) if last else Place()
            summary = f"{what} ended the agent in {len(stopped)} of {counted(len(material.runs), 'run')}"
            facts = {"limit": max(limits), "of": len(material.runs)}
            yield Pattern("time-out or bottleneck", cause, summary[:1].upper() + summary[1:], evidence, place, facts)
    slow: dict[tuple[str, str], list[tuple[Evidence, Call]]] = defaultdict(list)
    for run in material.runs:
        for call in run.calls:
            if call.seconds >= LONG_S and call.seconds > SHARE * run.agent_seconds:
                said = f"{call.seconds:.0f} s of {run.agent_seconds:.0f} s"
                slow[call.tool, call.code].append((Evidence(run.trajectory_id, said), call))
    for (tool, code), seen in slow.items():
        if _is_most(len({evidence.trajectory_id for evidence, _ in seen}), material.runs):
            summary = f"{quoted(code or tool)} takes most of the time in {len(seen)} of "
            yield Pattern(
                "time-out or bottleneck",
                code or tool,
                summary + counted(len(material.runs), "run"),
                tuple(evidence for evidence, _ in seen),
                material.places.of_call(seen[0][1].heading, code),
                {"seconds": mean(call.seconds for _, call in seen)},
            )


def _slowest(call: Call | None) -> str:
    return f"; the longest call, {quoted(call.code or call.tool)}, took {call.seconds:.0f} s" if call else ""


def divergence(material: Material) -> Iterator[Pattern]:
    """Runs of one spec whose agents did different things, or made different files."""
    groups: dict[str, list[Shown]] = defaultdict(list)
    for run in material.useful:
        groups[run.spec_digest].append(run)
    for runs in (group for group in groups.values() if len(group) > 1):
        everywhere = frozenset.intersection(*(run.results for run in runs))
        sometimes = sorted(frozenset.union(*(run.results for run in runs)) - everywhere)
        if sometimes:
            evidence = tuple(
                Evidence(run.trajectory_id, f"{counted(len(run.results), 'file')}{_lacking(run, sometimes)}")
                for run in runs
            )
            summary = f"{counted(len(sometimes), 'file')} came out of some of {len(runs)} equal runs only: "
            summary += ", ".join(map(quoted, sometimes[:5]))
            yield Pattern("divergent behaviour", "files", summary, evidence, facts={"files": tuple(sometimes)})
        yield from _different_ways(runs)


def _lacking(run: Shown, sometimes: Sequence[str]) -> str:
    missing = [path for path in sometimes if path not in run.results]
    return f", without {', '.join(map(quoted, missing[:5]))}" if missing else ""


def _different_ways(runs: Sequence[Shown]) -> Iterator[Pattern]:
    first, *others = ([call.kind for call in run.calls[:_COMPARED]] for run in runs)
    likeness = [SequenceMatcher(None, first, other, autojunk=False).ratio() for other in others]
    if not likeness or min(likeness) >= ALIKE or not first:
        return
    far = others[likeness.index(min(likeness))]
    number = next(i for i, (a, b) in enumerate(zip_longest(first, far), 1) if a != b)
    evidence = tuple(
        Evidence(run.trajectory_id, f"call {number}: {quoted(_kind_at(run, number))}; {len(run.calls)} in all")
        for run in runs
    )
    summary = f"The agents of {len(runs)} equal runs went different ways from call {number} on"
    yield Pattern("divergent behaviour", "calls", summary, evidence)


def _kind_at(run: Shown, number: int) -> str:
    return run.calls[number - 1].kind if number <= len(run.calls) else "none"


def guardrails(material: Material) -> Iterator[Pattern]:
    """Calls that fail in several runs."""
    failed: dict[tuple[str, str], dict[str, Call]] = defaultdict(dict)
    for run in material.runs:
        for call in run.calls:
            if call.failed:
                failed[call.tool, call.code].setdefault(run.trajectory_id, call)
    for (tool, code), calls in failed.items():
        if len(calls) > 1:
            last = list(calls.values())[-1]
            yield Pattern(
                "missing guardrail",
                code or tool,
                f"{quoted(code or tool)} fails in {len(calls)} of {counted(len(material.runs), 'run')}",
                tuple(Evidence(run_id, _failure(call)) for run_id, call in calls.items()),
                material.places.of_call(last.heading, code),
                {"error": last.error, "exit_code": last.exit_code, "of": len(material.runs)},
            )


def _failure(call: Call) -> str:
    code = f"exit code {call.exit_code}" if call.exit_code is not None else "an error"
    return f"{code}: {quoted(call.error)}" if call.error else code


def plateaus(material: Material) -> Iterator[Pattern]:
    """Scores that stay below the highest, run after run."""
    scored = [(run, run.score) for run in material.useful if run.score is not None]
    scores = [score for _, score in scored]
    highest = max((entry.max_score or 5.0 for run, _ in scored for entry in run.judged), default=5.0)
    if len(scores) < SCORED or max(scores) - min(scores) > PLATEAU or max(scores) >= highest - PLATEAU:
        return
    means: dict[str, list[float]] = defaultdict(list)
    for run, _ in scored:
        for entry in run.judged:
            means[entry.id].append(entry.score or 0.0)
    lowest = min(means, key=lambda name: mean(means[name]), default=None)
    criteria = {one.id: one for one in (material.criteria.rubric.criteria if material.criteria.rubric else ())}
    criterion = criteria.get(lowest or "")
    best = max(criterion.levels, key=lambda level: level.score, default=None) if criterion else None
    said = f"; the lowest criterion is {quoted(lowest)} ({mean(means[lowest]):.1f})" if lowest else ""
    span = f"{min(scores):g}" if min(scores) == max(scores) else f"{min(scores):g} to {max(scores):g}"
    summary = f"The score stays at {span} over {len(scores)} runs{said}"
    yield Pattern(
        "score plateau",
        criterion.name if criterion else lowest or "score",
        summary,
        tuple(Evidence(run.trajectory_id, f"score {score:g}") for run, score in scored),
        Place(criterion.line) if criterion else Place(),
        {"asks": best.text if best else "", "score": best.score if best else None},
    )


def _by_code(calls: Iterable[Call]) -> dict[tuple[str, str], list[Call]]:
    found: dict[tuple[str, str], list[Call]] = defaultdict(list)
    for call in calls:
        found[call.tool, call.code].append(call)
    return found


def _is_most(number: int, runs: Sequence[Shown]) -> bool:
    """What one run shows may be chance."""
    return len(runs) >= FEWEST and number > len(runs) / 2


_FAMILIES: tuple[Callable[[Material], Iterator[Pattern]], ...] = (
    consistent_failures,
    iteration_waste,
    bottlenecks,
    divergence,
    guardrails,
    plateaus,
)
