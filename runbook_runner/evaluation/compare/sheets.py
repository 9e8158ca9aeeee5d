"""Evaluation, compare: workbooks, sheet by sheet."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from python_calamine import CalamineWorkbook, SheetTypeEnum

from runbook_runner.core.disk.links import open_regular
from runbook_runner.evaluation.compare import tables
from runbook_runner.evaluation.compare.quotes import shown
from runbook_runner.evaluation.compare.rule import Rule, UnreadableError

Sheets = Mapping[str, Sequence[tables.Row]]


def read(path: Path) -> Sheets:
    """Without the empty cells at the ends of rows and the empty rows at the end."""
    with open_regular(path) as file, CalamineWorkbook.from_filelike(file) as book:
        sheets = [sheet.name for sheet in book.sheets_metadata if sheet.typ == SheetTypeEnum.WorkSheet]
        if len({*sheets}) < len(sheets):
            raise UnreadableError("two of its sheets have the same name")
        return {name: _rows(book, name) for name in sheets}


def _rows(book: CalamineWorkbook, name: str) -> Sequence[tables.Row]:
    rows = book.get_sheet_by_name(name).to_python(skip_empty_area=False)
    for row in rows:
        _drop_end(row, "")
    _drop_end(rows, [])
    return rows


def _drop_end(items: list[Any], empty: Any) -> None:
    while items and items[-1] == empty:
        items.pop()


def compare(expected: Sheets, found: Sheets, rule: Rule) -> Iterator[str]:
    """The order of sheets does not count."""
    for name in {**expected, **found}:
        sheet = f"Sheet {shown(name)}"
        if name not in found:
            yield f"{sheet} is missing."
        elif name not in expected:
            yield f"{sheet} is not expected."
        else:
            yield from tables.compare(expected[name], found[name], rule, f"{sheet}, row")
