"""Evaluation, compare: tables, cell by cell; and CSV, which is one."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from io import TextIOWrapper
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.text import counted
from runbook_runner.evaluation.compare.quotes import shown, told
from runbook_runner.evaluation.compare.rule import Rule
from runbook_runner.evaluation.compare.values import Number, real, same, same_number

_DELIMITERS: Final = ",;\t|"
_SAMPLE: Final = 8192
"""Characters in which the delimiter is looked for."""
_NUMBER: Final = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
"""As in JSON, so that `007` is none."""

Row = Sequence[Any]


def read(path: Path) -> Iterator[Row]:
    """Of the dialect only the delimiter is found out: what the standard library says of quotes is wrong too often."""
    csv.field_size_limit(1 << 30)
    file = TextIOWrapper(open_regular(path), encoding="utf-8-sig", errors="surrogateescape", newline="")
    sample = file.read(_SAMPLE)
    file.seek(0)
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        delimiter = csv.Sniffer().sniff(sample, _DELIMITERS).delimiter
    except csv.Error:  # there is one column
        delimiter = usual
    if not delimiter or delimiter not in sample.partition("\n")[0]:
        delimiter = usual
    return (row for row in csv.reader(file, delimiter=delimiter) if row)


def compare(expected: Iterable[Row], found: Iterable[Row], rule: Rule, place: str = "Row") -> Iterator[str]:
    """The first row has the names of the columns. place: what messages write before the number of a row."""
    rows = zip_longest(_kept(expected, rule), _kept(found, rule))
    names: Row = ()
    for number, (one, two) in enumerate(rows, 1):
        if one is None or two is None:
            more = number + sum(1 for _ in rows)
            lengths = (number - 1, more) if one is None else (more, number - 1)
            yield f"{place}s: expected {lengths[0]:,}, found {lengths[1]:,}."
            return
        names = names or one
        if len(one) != len(two):
            yield f"{place} {number}: expected {counted(len(one), 'cell')}, found {len(two)}."
            if number == 1:
                return
            continue
        for column, (cell, other) in enumerate(zip(one, two, strict=True)):
            if not _same(cell, other, rule.tolerance):
                name = shown(names[column]) if column < len(names) and names[column] != "" else column + 1
                yield f"{place} {number}, column {name}: {told(cell, other)}."


def _kept(rows: Iterable[Row], rule: Rule) -> Iterator[Row]:
    """Without the ignored columns."""
    ignored: set[int] | None = None
    for row in rows:
        if ignored is None:
            ignored = {column for column, cell in enumerate(row) if str(cell) in rule.ignore}
        yield [cell for column, cell in enumerate(row) if column not in ignored] if ignored else row


def _same(expected: Any, found: Any, tolerance: float) -> bool:
    if same(expected, found, tolerance):
        return True
    one, two = _number(expected), _number(found)
    return one is not None and two is not None and same_number(one, two, tolerance)


def _number(cell: Any) -> Number | None:
    """Of a text; `None` for what is not a number."""
    if not isinstance(cell, str) or not (match := _NUMBER.fullmatch(cell.strip())):
        return None
    try:
        number = real(match[0]) if match[2] or match[3] else int(cell)
        return None if isinstance(number, str) else number
    except ValueError:  # more digits than Python reads
        return None
