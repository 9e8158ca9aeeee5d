"""Room `runbook`: the tables of a Markdown text, their cells as plain text, and the lines they stand on."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, islice
from typing import Any, NamedTuple

import pyromark

OPTIONS = pyromark.Options.ENABLE_TABLES
"""For all that reads a runbook's Markdown: CommonMark plus GitHub's tables."""
_BREAKS = ("SoftBreak", "HardBreak")


class Lines:
    """UTF-8 byte offset → line number."""

    def __init__(self, source: bytes, first_line: int):
        self._first = first_line
        lengths = [len(line) + 1 for line in source.split(b"\n")]
        self._starts = [0, *accumulate(lengths[:-1])]

    def at(self, offset: int) -> int:
        return self._first + bisect_right(self._starts, offset) - 1


class Cell(NamedTuple):
    text: str
    """Plain text of the cell, code spans included, trimmed."""
    codes: tuple[str, ...]
    """The code spans, in order."""
    prose: str
    """Plain text outside the code spans, trimmed."""


class Row(NamedTuple):
    cells: tuple[Cell, ...]
    """As many as the table's header has; pulldown-cmark fills and cuts."""
    line: int


class Table(NamedTuple):
    """Its cells are read when they are first asked for: most tables of a runbook are for the agent alone."""

    line: int
    read: Callable[[], tuple[Row, ...]]
    """Header and rows; reads them once."""

    @property
    def header(self) -> Row:
        return self.read()[0]

    @property
    def rows(self) -> tuple[Row, ...]:
        return self.read()[1:]


class Inline:
    """Collects the inline text of a heading or a table cell."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self.codes: list[str] = []
        self.outside: list[str] = []

    def feed(self, event: Any) -> None:
        if event.__class__ is str:
            if event in _BREAKS:
                self._add(" ")
            return
        for kind, text in event.items():
            if kind == "Text":
                self._add(text)
            elif kind == "Code":
                self.all.append(text)
                self.codes.append(text)
            elif kind == "InlineHtml":
                self._add(" " if text.lower().startswith("<br") else text)

    def _add(self, text: str) -> None:
        self.all.append(text)
        self.outside.append(text)

    def text(self) -> str:
        return " ".join("".join(self.all).split())

    def cell(self) -> Cell:
        text = self.text()
        return Cell(text, tuple(self.codes), " ".join("".join(self.outside).split()) if self.codes else text)


def read_table(source: bytes, line: int, most: int) -> tuple[Row, ...]:
    events = pyromark.events_with_range(source.decode(), options=OPTIONS)
    return read_rows(events, Lines(source, line), most)


def read_rows(events: Iterable[Any], lines: Lines, most: int) -> tuple[Row, ...]:
    """The header and as many rows as that."""
    return tuple(islice(_rows(events, lines), most + 1)) or (Row((Cell("", (), ""),), lines.at(0)),)


def _rows(events: Iterable[Any], lines: Lines) -> Iterator[Row]:
    cells: list[Cell] = []
    inline = Inline()
    for event, span in events:
        tag = event.get("End") if event.__class__ is dict else None
        if tag == "TableCell":
            cells.append(inline.cell())
            inline = Inline()
        elif tag in ("TableRow", "TableHead"):
            yield Row(tuple(cells), lines.at(span["start"]))
            cells = []
        else:
            inline.feed(event)
