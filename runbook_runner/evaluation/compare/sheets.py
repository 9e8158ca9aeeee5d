"""Evaluation, compare: workbooks, sheet by sheet."""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO
from xml.parsers import expat

from python_calamine import CalamineWorkbook, SheetTypeEnum

from runbook_runner.core.disk.links import open_regular
from runbook_runner.evaluation.compare import tables
from runbook_runner.evaluation.compare.quotes import shown
from runbook_runner.evaluation.compare.rule import Rule, UnreadableError

Sheets = Mapping[str, Sequence[tables.Row]]


def read(path: Path) -> Sheets:
    """Without the empty cells at the ends of rows and the empty rows at the end. Raises UnreadableError."""
    with open_regular(path) as file:
        _require_plain_cells(file)
    with open_regular(path) as file, CalamineWorkbook.from_filelike(file) as book:
        sheets = [sheet.name for sheet in book.sheets_metadata if sheet.typ == SheetTypeEnum.WorkSheet]
        if len({*sheets}) < len(sheets):
            raise UnreadableError("two of its sheets have the same name")
        return {name: _rows(book, name) for name in sheets}


def _require_plain_cells(file: BinaryIO) -> None:
    """Of a workbook in XML: the library reads a cell with an error as an empty one, and of two at one place the last.
    Raises UnreadableError."""
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as book:
        for name in book.namelist():
            if name.lower().endswith(".xml"):
                with book.open(name) as part:
                    _read_cells(part)


def _read_cells(part: IO[bytes]) -> None:
    places, is_inside = set[str](), False

    def begin(tag: str, attributes: dict[str, str]) -> None:
        nonlocal is_inside
        name = tag.rpartition(":")[2]
        is_inside = is_inside or name == "sheetData"
        if name != "c" or not is_inside:  # the chain of calculations has elements of this name too
            return
        place = attributes.get("r", "")
        if attributes.get("t") == "e":
            raise UnreadableError(f"its cell {place or 'without a place'} has an error, which can't be compared")
        if place and place in places:
            raise UnreadableError(f"it has cell {place} twice")
        places.add(place)

    parser = expat.ParserCreate()
    parser.StartElementHandler = begin
    try:
        parser.ParseFile(part)
    except expat.ExpatError as error:
        raise UnreadableError(f"a part of it is not XML: {error}") from error


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
