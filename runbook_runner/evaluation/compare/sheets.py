"""Evaluation, compare: workbooks (.xlsx, ECMA-376, part 1), sheet by sheet. What readers may read in several ways is
not read: an agent could show one content here and another one to people."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple
from xml.etree.ElementTree import Element

from runbook_runner.core.disk.links import open_regular
from runbook_runner.evaluation.compare import tables
from runbook_runner.evaluation.compare.packages import Package
from runbook_runner.evaluation.compare.quotes import shown
from runbook_runner.evaluation.compare.rule import Rule, UnreadableError

_BOOK: Final = "xl/workbook.xml"
_MAIN: Final = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_ID: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_SPACE: Final = "{http://www.w3.org/XML/1998/namespace}space"
_ROW, _FORMULA, _VALUE, _INLINE, _ITEM, _TEXT, _LOOK, _SOUND, _SOUND_LOOK = (
    f"{_MAIN}{name}" for name in ("row", "f", "v", "is", "si", "t", "rPr", "rPh", "phoneticPr")
)
_NUMBER_OF_ROW: Final = re.compile(r"[1-9]\d{0,6}", re.ASCII)
_PLACE: Final = re.compile(r"([A-Z]{1,3})([1-9]\d{0,6})", re.ASCII)
_MOST_ROWS, _MOST_COLUMNS = 1 << 20, 1 << 14
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_DAY_ZERO: Final = datetime(1899, 12, 30)
_BUILT_IN: Final = {
    **dict.fromkeys((*range(5), *range(9, 14), *range(37, 41), 48, 49), False),
    **dict.fromkeys((*range(14, 23), *range(45, 48)), True),
}
"""Formats of numbers (part 1, 18.8.30) → whether they are dates or times; the others depend on the language."""
_NO_LETTERS: Final = re.compile(r'"[^"]*+(?:"|\Z)|\\.|[_*].|\[(?!(?:h++|m++|s++)\])[^\]]*+(?:\]|\Z)', re.IGNORECASE)
"""What of a format stands for itself, or for a colour or a language."""


_USUAL: Final = {_VALUE, _FORMULA}


class Sheet(NamedTuple):
    state: str
    rows: Sequence[tables.Row]
    """Without the empty cells at their ends and the empty rows at the end."""


Sheets = Mapping[str, Sheet]


def read(path: Path) -> Sheets:
    """Raises UnreadableError."""
    with open_regular(path) as file:
        package = Package(file)
        package.parts(package.relations(), "officeDocument", ".main+xml", _BOOK)
        relations = package.relations(_BOOK)
        strings, formats = list[str](), list[bool | None]([False])
        for part in package.parts(relations, "sharedStrings", "spreadsheetml.sharedStrings", "xl/sharedStrings.xml"):
            root = package.read(part, _ITEM, lambda item: strings.append(_text(item)))
            _require_all(_of(root, "sst"), _ITEM, len(strings))
        for part in package.parts(relations, "styles", "spreadsheetml.styles", "xl/styles.xml"):
            formats = [*_formats(package.read(part))]
        parts = package.parts(relations, "worksheet", "spreadsheetml.worksheet")
        found, names = dict[str, Sheet](), set[str]()
        book = package.read(_BOOK)
        if any(element.get("date1904", "0") not in ("0", "false") for element in book.iter()):
            raise UnreadableError("it counts dates from 1904, which not every reader does")
        for sheet in _listed(book, "workbook", "sheets", "sheet"):
            relation, name = relations.get(sheet.get(_ID, "")), sheet.get("name", "")
            if relation is None or name.casefold() in names:
                raise UnreadableError("a sheet of it has no part, or two of its sheets have the same name")
            names.add(name.casefold())
            if relation.kind == "worksheet":
                if relation.part not in parts:
                    raise UnreadableError("two of its sheets are the same part")
                parts.remove(relation.part)
                rows = _rows(package, relation.part, strings, formats)
                found[name] = Sheet(sheet.get("state", "visible"), rows)
        if parts:
            raise UnreadableError("it has the part of a sheet that it does not list")
        return found


def _of(element: Element, name: str) -> Element:
    if element.tag != _MAIN + name:
        raise UnreadableError(f"it has another element where {name} has to be")
    return element


def _require_all(container: Element, tag: str, count: int) -> None:
    """That it has nothing but so many of these: all that there are in the part."""
    if len(container) != count or any(child.tag != tag for child in container):
        raise UnreadableError(f"it has another element where {tag.removeprefix(_MAIN)} has to be")


def _only(root: Element, name: str, container: str) -> list[Element]:
    """The only element of this name, if there is one; some readers look for it by the end of its name, anywhere."""
    named = [element for element in _of(root, name).iter() if element.tag.rpartition("}")[2] == container]
    if [element for element in root if element.tag == _MAIN + container] != named or len(named) > 1:
        raise UnreadableError(f"it has {container} in two places, or in an unusual one")
    return named


def _listed(root: Element, name: str, container: str, child: str) -> Iterator[Element]:
    for element in _only(root, name, container):
        yield from (_of(one, child) for one in element)


def _formats(root: Element) -> Iterator[bool | None]:
    """Of each style of cells: whether its numbers are dates; `None`: readers differ."""
    kinds = dict[int, bool | None](_BUILT_IN)
    for one in _listed(root, "styleSheet", "numFmts", "numFmt"):
        key, code = int(one.get("numFmtId", "")), one.get("formatCode", "")
        is_date = bool(re.search("[dmyhs]", _NO_LETTERS.sub("", code.partition(";")[0]), re.IGNORECASE))
        kinds[key] = is_date if kinds.get(key, is_date) == is_date else None
    for one in _listed(root, "styleSheet", "cellXfs", "xf"):
        yield kinds.get(int(one.get("numFmtId", "0")))


def _text(element: Element) -> str:
    """Of a shared or an inline one; how it is pronounced does not count."""
    parts = [part for part in element if part.tag not in (_SOUND, _SOUND_LOOK)]
    if [part.tag for part in parts] != [_TEXT]:
        runs = [_of(part, "r") for part in parts]
        parts = [part for run in runs for part in run if part.tag != _LOOK]
        if len(parts) != len(runs):
            raise UnreadableError("a text of it is not plain")
    return "".join(_characters(_of(part, "t")) for part in parts)


def _characters(element: Element) -> str:
    text = element.text or ""
    if len(element) or (text != text.strip(" \t\r\n") and element.get(_SPACE) != "preserve"):
        raise UnreadableError("a text of it has blanks at an end that not every reader keeps, or is not plain")
    return text


def _rows(package: Package, part: str, strings: Sequence[str], formats: Sequence[bool | None]) -> list[list[Any]]:
    rows, taken = list[list[Any]](), 0

    def take(row: Element) -> None:
        nonlocal taken
        taken, number = taken + 1, row.get("r", "")
        if not _NUMBER_OF_ROW.fullmatch(number) or not len(rows) < int(number) <= _MOST_ROWS:
            raise UnreadableError(f"its row {number or 'without a number'} is not where it has to be")
        rows.extend([] for _ in range(int(number) - 1 - len(rows)))
        rows.append([*_cells(row, number, strings, formats)])
        _drop_end(rows[-1], "")

    for data in _only(package.read(part, _ROW, take), "worksheet", "sheetData"):
        _require_all(data, _ROW, taken)
    _drop_end(rows, [])
    return rows


def _cells(row: Element, number: str, strings: Sequence[str], formats: Sequence[bool | None]) -> Iterator[Any]:
    at = 0
    for cell in row:
        place = _of(cell, "c").get("r", "")
        match = _PLACE.fullmatch(place)
        if not match or match[2] != number or not at <= (column := _column(match[1])) < _MOST_COLUMNS:
            raise UnreadableError(f"its cell {place or 'without a place'} is there twice, or not where it has to be")
        yield from [""] * (column - at)
        try:
            yield _value(cell, strings, formats)
        except UnreadableError as error:
            raise UnreadableError(f"its cell {place} {error}") from error
        at = column + 1


@cache
def _column(letters: str) -> int:
    found = 0
    for letter in letters:
        found = found * 26 + ord(letter) - ord("A") + 1
    return found - 1


def _value(cell: Element, strings: Sequence[str], formats: Sequence[bool | None]) -> Any:
    """Empty: none. Raises UnreadableError."""
    kind, parts = cell.get("t", "n"), {part.tag: part for part in cell}
    if kind == "e":
        raise UnreadableError("has an error, which can't be compared")
    if kind == "inlineStr" and [*parts] == [_INLINE] and len(cell) == 1:
        return _text(parts[_INLINE])
    if len(parts) < len(cell) or not parts.keys() <= _USUAL or any(map(len, parts.values())):
        raise UnreadableError("has two values, or what is none")
    value = (parts[_VALUE].text or "") if _VALUE in parts else ""
    if not value and _FORMULA in parts and kind != "str":
        raise UnreadableError("has a formula without a result: a program that computes it has to save the workbook")
    if not value or kind == "str":
        return value
    if kind == "s" and value.isdecimal() and int(value) < len(strings):
        return strings[int(value)]
    if kind == "b" and value in ("0", "1"):
        return value == "1"
    style = cell.get("s", "0")
    if kind != "n" or not _NUMBER.fullmatch(value) or not style.isdecimal() or int(style) >= len(formats):
        raise UnreadableError("has a value that is not of its type")
    return _number(float(value), formats[int(style)])


def _number(number: float, is_date: bool | None) -> float | datetime:
    if is_date is None or not math.isfinite(number):
        raise UnreadableError("has a number that readers show in several ways")
    return _DAY_ZERO + timedelta(milliseconds=round(number * 86_400_000)) if is_date else number


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
            one, two = expected[name], found[name]
            if one.state != two.state:
                yield f"{sheet}: expected {shown(one.state)}, found {shown(two.state)}."
            yield from tables.compare(one.rows, two.rows, rule, f"{sheet}, row")
