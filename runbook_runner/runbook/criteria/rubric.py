"""Room `runbook`: how a rubric runbook is judged (contract §3.8): criteria, weights, thresholds."""

import re
from bisect import bisect_left
from collections.abc import Sequence

from runbook_runner.core import ids
from runbook_runner.core.criteria import Criterion, Level, Rubric
from runbook_runner.runbook.markdown.blocks import Outline, Section
from runbook_runner.runbook.markdown.tables import Row, Table

DEFAULT_AVERAGE = 4.0
DEFAULT_MINIMUM = 3.0

_LEVEL = re.compile(r"(?P<score>\d+(?:\.\d+)?)\b")
_NUMBER = r"(?P<n>\d+(?:\.\d+)?)"
_REACHES = r"(?:≥|>=|=>|at least|of at least|is|of|must be|reaches)"
_AVERAGE = re.compile(rf"\b(?:average|mean|overall score)\b[^.\n|]{{0,40}}?{_REACHES}\s*{_NUMBER}", re.IGNORECASE)
_MINIMUM = re.compile(
    rf"\bno (?:single |individual )?criteri(?:on|a)\b[^.\n|]{{0,30}}?(?:below|under|less than|<)\s*(?:a\s+)?{_NUMBER}"
    rf"|\b(?:each|every|all) criteri(?:on|a)\b[^.\n|]{{0,30}}?(?:≥|>=|at least)\s*(?P<m>\d+(?:\.\d+)?)",
    re.IGNORECASE,
)


def read_rubric(outline: Outline) -> Rubric | None:
    """The first table with a criterion column and at least one score column; one in an Evaluate section first."""
    tops = [section for section in outline.sections if section.level == 2]
    tables = list(filter(_is_rubric, outline.tables))
    table = next((table for table in tables if _in_evaluation(tops, table)), next(iter(tables), None))
    if table is None:
        return None
    section = _holding(tops, table.line)
    average, minimum = _thresholds(section.text if section else "")
    return Rubric(
        criteria=tuple(filter(None, (_criterion(table, row) for row in table.rows))),
        average=DEFAULT_AVERAGE if average is None else average,
        minimum=DEFAULT_MINIMUM if minimum is None else minimum,
        is_stated=average is not None or minimum is not None,
        line=table.line,
    )


def _is_rubric(table: Table) -> bool:
    names = _names(table)
    return any("criteri" in name for name in names) and "status" not in names and bool(_score_columns(table))


def _names(table: Table) -> list[str]:
    return [cell.text.lower() for cell in table.header.cells]


def _score_columns(table: Table) -> list[tuple[int, float]]:
    """Columns whose title begins with a number: `5 (Excellent)`."""
    titles = enumerate(cell.text for cell in table.header.cells)
    return [(index, float(match["score"])) for index, title in titles if (match := _LEVEL.match(title))]


def _in_evaluation(tops: Sequence[Section], table: Table) -> bool:
    section = _holding(tops, table.line)
    return bool(section and re.search("evaluat|rubric", section.name))


def _holding(tops: Sequence[Section], line: int) -> Section | None:
    """The level-2 section with this line, if any; they are in order."""
    index = bisect_left(tops, line, key=lambda section: section.line)
    return tops[index - 1] if index and line <= tops[index - 1].end_line else None


def _criterion(table: Table, row: Row) -> Criterion | None:
    names = _names(table)
    name = row.cells[next(index for index, title in enumerate(names) if "criteri" in title)].text
    if not name:
        return None
    levels = tuple(
        Level(score, table.header.cells[index].text, row.cells[index].text) for index, score in _score_columns(table)
    )
    return Criterion(ids.slug(name), name, levels, _weight(names, row), row.line)


def _weight(names: Sequence[str], row: Row) -> float | None:
    column = next((index for index, name in enumerate(names) if name.startswith("weight")), None)
    match = re.match(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*(%?)", row.cells[column].text) if column is not None else None
    if match is None:
        return None
    return float(match[1]) / 100 if match[2] else float(match[1])


def _thresholds(text: str) -> tuple[float | None, float | None]:
    """Average and minimum as the prose around the table states them."""
    plain = text.replace("*", "").replace("`", "")
    average, minimum = _AVERAGE.search(plain), _MINIMUM.search(plain)
    return (
        float(average["n"]) if average else None,
        float(minimum["n"] or minimum["m"]) if minimum else None,
    )
