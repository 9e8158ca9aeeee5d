"""Evaluation: the points of a run: all that it was judged by, each with what came of it. Reports are made of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from runbook_runner.core.criteria import Criteria
from runbook_runner.core.events import CheckFinished, Evaluated
from runbook_runner.evaluation.entries import BAD, Check, Kind, Status, read_entries
from runbook_runner.evaluation.gates import Reached
from runbook_runner.evaluation.report import REPORT
from runbook_runner.evaluation.verdict import lack_of

PointKind = Literal["run", "output", Kind, "script", "report", "expected", "gate"]


class Point(NamedTuple):
    kind: PointKind
    id: str
    status: Status
    message: str = ""
    name: str = ""
    line: int | None = None
    """Of the runbook; `None`: it has none of its own."""
    seconds: float | None = None
    output: str = ""
    """The end of what a command has printed."""
    decides: bool = True
    """False: the gates, which decide in the place of the verdict, do not ask for it."""

    @property
    def is_bad(self) -> bool:
        return self.status in BAD


def points_of(
    evaluated: Evaluated | None,
    finished: Iterable[CheckFinished],
    criteria: Criteria,
    error: str | None,
    gates: Sequence[Reached] = (),
) -> tuple[Point, ...]:
    """evaluated: `None` when the run did not come so far. finished: the checks that the engine has run. error: what
    ended the run early. One of them is bad when the verdict is fail, whatever the agent's report has in it."""
    points = [Point("run", "run", "error" if error else "pass", error or "", "The run")]
    if evaluated:
        points += _judged(evaluated, {(check.kind, check.id): check for check in finished}, criteria)
        if evaluated.verdict == "fail" and not any(point.is_bad for point in points):
            points[0] = points[0]._replace(status="fail", message="; ".join(evaluated.reasons))
    asked = {one.gate.name for one in gates}
    if gates and "verdict" not in asked:
        points = [point._replace(decides=_is_asked_for(point, asked)) for point in points]
    return (*points, *(_of_gate(one) for one in gates))


def _is_asked_for(point: Point, gates: set[str]) -> bool:
    """An error has an exit code of its own, whatever the gates say."""
    return point.kind == "run" or (point.kind == "output" and "outputs" in gates)


def _of_gate(reached: Reached) -> Point:
    return Point("gate", str(reached.gate), "pass" if reached.holds else "fail", reached.why)


def _judged(
    evaluated: Evaluated, finished: Mapping[tuple[str, str], CheckFinished], criteria: Criteria
) -> Iterator[Point]:
    for output in evaluated.outputs:
        lack = lack_of(output) if output.lack else ""
        yield Point("output", output.path, "fail" if lack else "pass", lack)
    lines = {check.id: check.line for check in criteria.code_checks}
    lines |= {item.id: item.line for item in criteria.checklist}
    lines |= {criterion.id: criterion.line for criterion in (criteria.rubric.criteria if criteria.rubric else ())}
    entries = _entries(evaluated)
    for entry in entries:
        if ran := finished.get((entry.kind, entry.id)):
            yield _of_finished(ran, criteria, lines)
        else:
            yield Point(entry.kind, entry.id, entry.status, entry.message, entry.name, lines.get(entry.id))
    told = {(entry.kind, entry.id) for entry in entries}
    for key, check in finished.items():
        if key not in told:
            yield _of_finished(check, criteria, lines)
    if evaluated.claims:
        yield Point("report", REPORT, "fail", " ".join(evaluated.claims), "The agent's report")


def _entries(evaluated: Evaluated) -> tuple[Check, ...]:
    """Of a merged report, whose length the merge has bounded; in one of v1 nothing is told apart."""
    report = evaluated.validation_report
    listed = report.get("checks") if isinstance(report, dict) and report.get("version") == 2 else None
    return tuple(read_entries(listed, most=None)) if isinstance(listed, list) else ()


def _of_finished(check: CheckFinished, criteria: Criteria, lines: Mapping[str, int]) -> Point:
    script = criteria.verification if check.kind == "script" else None
    line = script.line if script else lines.get(check.id)
    return Point(check.kind, check.id, check.status, check.message, check.name, line, check.seconds, check.output)
