"""Evaluation: the points of a run for the programs around a build: JUnit, SARIF, Markdown and annotations for
GitHub."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, Literal

from runbook_runner.core.formats import ci_reports
from runbook_runner.core.formats.ci_reports import Case, Found, Rule
from runbook_runner.core.text import counted, printable
from runbook_runner.evaluation.points import Point, PointKind

TOOL: Final = "runbook run"
_RULES: Final[dict[PointKind, Rule]] = {
    "run": Rule("run", "Run", "The run goes to its end."),
    "output": Rule("required-output", "RequiredOutput", "A required output is there and has content."),
    "code_check": Rule("code-check", "CodeCheck", "A code check passes."),
    "checklist": Rule("checklist", "Checklist", "An item of the checklist holds."),
    "judge": Rule("judge", "Judge", "A criterion of the rubric reaches its threshold."),
    "step": Rule("step", "Step", "A step is done."),
    "script": Rule("verification-script", "VerificationScript", "The verification script finds nothing."),
    "report": Rule("report", "Report", "The agent's report says that the run has passed, and nothing contradicts it."),
    "expected": Rule("expected", "Expected", "A result is as the case expects it."),
    "gate": Rule("gate", "Gate", "A gate holds."),
}
_MARKS: Final = {"pass": "✅", "fail": "❌", "error": "❌", "skipped": "⏭️"}
_MOST_ROWS: Final = 50
_LONGEST: Final = 300  # characters of a cell


def junit(points: Iterable[Point], suite: str) -> str:
    """A test case for each point. What fails and does not decide is skipped, with what is wrong as its message."""
    return ci_reports.junit(suite, list(map(_case, points)), suite)


def _case(point: Point) -> Case:
    name = f"{_RULES[point.kind].id}: {point.id}"
    if point.status == "pass":
        return Case(name, seconds=point.seconds)
    if point.status == "skipped" or not point.decides:
        why = "" if point.status == "skipped" else f"{point.status}, and no gate asks for it: "
        return Case(name, "skipped", message=f"{why}{point.message}", seconds=point.seconds)
    status: Literal["failure", "error"] = "failure" if point.status == "fail" else "error"
    return Case(name, status, point.kind, point.message, point.output, point.seconds)


def sarif(points: Iterable[Point], file: str) -> str:
    """file: the runbook."""
    return ci_reports.sarif(TOOL, list(_RULES.values()), _found(points, file))


def annotations(points: Iterable[Point], file: str) -> str:
    """Commands of GitHub Actions; GitHub shows ten of each level and step."""
    return "".join(map(ci_reports.annotation, _found(points, file)))


def _found(points: Iterable[Point], file: str) -> Iterator[Found]:
    for point in points:
        if point.is_bad:
            name = "" if point.kind == "run" else f"{point.id}: "
            level: Literal["error", "warning"] = "error" if point.decides else "warning"
            yield Found(_RULES[point.kind].id, level, f"{name}{point.message or point.status}", file, point.line)


def markdown(title: str, headline: str, points: Sequence[Point], notes: Iterable[str] = ()) -> str:
    """What is wrong as a table, in GitHub's Markdown; no text of it is obeyed there."""
    bad = [point for point in points if point.is_bad]
    mark = "❌" if any(point.decides for point in bad) else "✅"
    lines = [f"### {mark} {code_span(title)}: {headline}", ""]
    if bad:
        lines += ["| | What | Why |", "|---|---|---|", *islice(map(_row, bad), _MOST_ROWS)]
        if (more := len(bad) - _MOST_ROWS) > 0:
            lines.append(f"| | {counted(more, 'more')} | |")
        lines.append("")
    counts = ", ".join(
        f"{number} {what}"
        for what in ("pass", "fail", "error", "skipped")
        if (number := sum(point.status == what for point in points))
    )
    lines += [f"{counted(len(points), 'point')}: {counts}.", ""]
    lines += [f"- {code_span(note)}" for note in islice(notes, _MOST_ROWS)]
    return "\n".join(lines).rstrip() + "\n"


def _row(point: Point) -> str:
    mark = _MARKS[point.status] if point.decides else "⚠️"
    return f"| {mark} | {_RULES[point.kind].id} {code_span(point.id)} | {code_span(point.message)} |"


def code_span(text: str) -> str:
    """A code span on one line, also within a table. It has no back-ticks: readers know no fence of more than 80."""
    line = " ".join(printable(text).split()).replace("`", "'")
    line = line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
    return f"` {line} `".replace("|", "\\|") if line else ""
