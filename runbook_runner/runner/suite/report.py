"""Runner, suite: the report of an evaluation: Markdown, JSON, or one HTML page that needs nothing else."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_runner.core.errors import InputError
from runbook_runner.core.text import counted, dollars
from runbook_runner.evaluation.publish import code_span
from runbook_runner.runner.suite.row import Row
from runbook_runner.runner.suite.suite_file import Suite
from runbook_runner.runner.suite.summary import Compared, Summary, Totals, as_json

if TYPE_CHECKING:
    from jinja2 import Template

FORMATS = (".md", ".json", ".html")


def require_format(file: Path) -> None:
    """Raises InputError."""
    if file.suffix.lower() not in FORMATS:
        raise InputError("A report ends in .md, .json or .html.", where=str(file))


def report(summary: Summary, suite: Suite, file: Path) -> str:
    """In the format that the name of the file says."""
    form = file.suffix.lower()
    if form == ".json":
        return json.dumps(as_json(summary), indent=1, ensure_ascii=False) + "\n"
    return markdown(summary) if form == ".md" else html(summary, suite)


def rate(totals: Totals) -> str:
    """`67 % (30–90 %)`; an en dash without runs."""
    if totals.pass_rate is None:
        return "–"
    return f"{100 * totals.pass_rate:.0f} % ({100 * totals.low:.0f}–{100 * totals.high:.0f} %)"


def number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def cost(value: float | None) -> str:
    return "–" if value is None else dollars(value)


def difference(compared: Compared) -> str:
    """In words, with how likely it is by chance."""
    if compared.now.pass_rate == compared.before.pass_rate:
        return "the same"
    direction = "worse" if compared.is_worse else "better"
    sure = "significant" if compared.is_significant else "not significant"
    return f"{direction}, {sure} (p = {compared.p:.3f})"


def markdown(summary: Summary) -> str:
    return "\n".join(_markdown(summary)) + "\n"


def _markdown(summary: Summary) -> Iterator[str]:
    total = summary.total
    mark = "✅" if summary.passed else "❌"
    yield f"### {mark} {code_span(summary.name)}: {total.passed} of {total.runs} runs passed"
    yield ""
    if summary.ended:
        yield f"Not all was run: {code_span(summary.ended)}."
        yield ""
    if summary.against_baseline:
        yield summary.against_baseline
        yield ""
    yield "| | Group | Pass rate (95 %) | Runs | Score | Cost | Tokens | Seconds |"
    yield "|---|---|---|---:|---:|---:|---:|---:|"
    for group in summary.groups:
        mark = {"pass": "✅", "fail": "❌", "unknown": "❔"}[group.verdict]
        yield (
            f"| {mark} | {code_span(group.group)} | {rate(group)} | {group.passed}/{group.runs} | "
            f"{number(group.score, 2)} | {cost(group.cost_usd)} | {number(group.tokens, 0)} | "
            f"{number(group.seconds, 1)} |"
        )
    yield ""
    for group in summary.groups:
        yield from (f"- {code_span(group.group)}: {code_span(why)}" for why in group.why)
        yield from (f"- ⚠️ {code_span(group.group)}: {code_span(note)}" for note in group.notes)
    yield from (f"- {code_span(group)}: only in the baseline" for group in summary.gone)
    if summary.baseline:
        yield ""
        yield "| Group | Before | Now | Difference |"
        yield "|---|---|---|---|"
        for one in summary.baseline:
            before, now = (f"{rate(side)} of {counted(side.runs, 'run')}" for side in (one.before, one.now))
            yield f"| {code_span(one.group)} | {before} | {now} | {difference(one)} |"


def html(summary: Summary, suite: Suite) -> str:
    cells: dict[str, list[Row]] = {group.group: [] for group in summary.groups}
    for cell in summary.cells:
        cells[cell.group].append(cell)
    return _template().render(
        summary=summary,
        used=sorted({" ".join(filter(None, (row.agent, row.model))) for row in summary.cells if row.agent}),
        gate=suite.pass_rate if suite.until is None else suite.until,
        longest=max((cell.seconds for cell in summary.cells), default=0.0) or 1.0,
        cells=cells,
        rate=rate,
        number=number,
        cost=cost,
        difference=difference,
    )


@cache
def _template() -> "Template":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("report.html")
