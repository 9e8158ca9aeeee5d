"""Room `runbook`: what of a Markdown text we look at (headings, tables, fences), each with its 1-based line.

CommonMark plus GitHub tables, read by pulldown-cmark, so headings and tables inside fences do not count.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyromark

_OPTIONS = pyromark.Options.ENABLE_TABLES
_BREAKS = ("SoftBreak", "HardBreak")


@dataclass(frozen=True)
class Heading:
    level: int
    title: str
    """Plain text: no emphasis marks, no back-ticks."""
    line: int
    start: int
    """UTF-8 byte offset of the heading; `end` is where the text below it begins."""
    end: int


@dataclass(frozen=True)
class Section:
    """A heading and all below it, subsections included, up to the next heading of its level or a higher one."""

    level: int
    title: str
    line: int
    end_line: int
    """Last line of the section."""
    text: str
    """The Markdown below the heading, byte for byte."""
    text_line: int
    """Line on which `text` begins."""


@dataclass(frozen=True)
class Cell:
    text: str
    """Plain text of the cell, code spans included, trimmed."""
    codes: tuple[str, ...]
    """The code spans, in order."""
    prose: str
    """Plain text outside the code spans, trimmed."""


@dataclass(frozen=True)
class Row:
    cells: tuple[Cell, ...]
    """As many as the table's header has; pulldown-cmark fills and cuts."""
    line: int


@dataclass(frozen=True)
class Table:
    header: Row
    rows: tuple[Row, ...]
    line: int


@dataclass(frozen=True)
class Fence:
    """A fenced code block."""

    info: str
    code: str
    line: int
    """Line of the opening fence."""


@dataclass(frozen=True)
class Outline:
    headings: tuple[Heading, ...]
    """Top-level ones only: a heading in a list item or a block quote opens no section."""
    sections: tuple[Section, ...]
    tables: tuple[Table, ...]
    fences: tuple[Fence, ...]

    def tables_in(self, section: Section) -> tuple[Table, ...]:
        return _within(section, self.tables)

    def fences_in(self, section: Section) -> tuple[Fence, ...]:
        return _within(section, self.fences)

    def innermost(self, line: int) -> Section | None:
        """The deepest section that holds this line: that of the last heading above it."""
        index = bisect_left(self.sections, line, key=lambda section: section.line)
        return self.sections[index - 1] if index else None


_Placed = TypeVar("_Placed", Table, Fence)


def _within(section: Section, items: Sequence[_Placed]) -> tuple[_Placed, ...]:
    """Those of the section; they are in the order of their lines."""
    first = bisect_right(items, section.line, key=lambda item: item.line)
    return tuple(items[first : bisect_right(items, section.end_line, key=lambda item: item.line)])


def outline(text: str, first_line: int = 1) -> Outline:
    """Reads Markdown; `first_line` is the line number of its first line in the file it comes from.

    Never raises for any text that UTF-8 can carry.
    """
    reader = _Reader(text, first_line)
    for event, span in pyromark.events_with_range(text, options=_OPTIONS):
        reader.feed(event, span["start"], span["end"])
    return Outline(
        headings=tuple(reader.headings),
        sections=tuple(_sections(reader.headings, reader.source, reader.lines)),
        tables=tuple(reader.tables),
        fences=tuple(reader.fences),
    )


class _Lines:
    """Byte offset → line number."""

    def __init__(self, source: bytes, first_line: int):
        self._first = first_line
        self._starts = [0]
        position = source.find(b"\n")
        while position >= 0:
            self._starts.append(position + 1)
            position = source.find(b"\n", position + 1)

    def at(self, offset: int) -> int:
        return self._first + bisect_right(self._starts, offset) - 1


@dataclass
class _Inline:
    """Collects the inline text of a heading or a table cell."""

    all: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def add(self, text: str, *, code: bool = False) -> None:
        self.all.append(text)
        if code:
            self.codes.append(text)
        else:
            self.outside.append(text)

    def text(self) -> str:
        return " ".join("".join(self.all).split())

    def cell(self) -> Cell:
        return Cell(self.text(), tuple(self.codes), " ".join("".join(self.outside).split()))


class _Reader:
    def __init__(self, text: str, first_line: int):
        self.source = text.encode()
        self.lines = _Lines(self.source, first_line)
        self.headings: list[Heading] = []
        self.tables: list[Table] = []
        self.fences: list[Fence] = []
        self._containers = 0
        self._inline: _Inline | None = None
        self._cells: list[Cell] = []
        self._rows: list[Row] = []
        self._info: str | None = None
        self._code: list[str] = []

    def feed(self, event: Any, start: int, end: int) -> None:
        match event:
            case {"Text": str(text)}:
                self._text(text)
            case {"Code": str(text)}:
                self._add(text, code=True)
            case {"InlineHtml": str(text)}:
                self._add(" " if text.lower().startswith("<br") else text)
            case {"Start": tag}:
                self._start(tag)
            case {"End": tag}:
                self._end(tag, start, end)
            case str() if event in _BREAKS:
                self._add(" ")

    def _text(self, text: str) -> None:
        if self._info is not None:
            self._code.append(text)
        else:
            self._add(text)

    def _add(self, text: str, *, code: bool = False) -> None:
        if self._inline is not None:
            self._inline.add(text, code=code)

    def _start(self, tag: Any) -> None:
        match tag:
            case {"Heading": _} | "TableCell":
                self._inline = _Inline()
            case {"CodeBlock": {"Fenced": str(info)}}:
                self._info, self._code = info, []
            case {"Table": _}:
                self._rows = []
            case "TableHead" | "TableRow":
                self._cells = []
            case {"List": _} | {"BlockQuote": _}:
                self._containers += 1

    def _end(self, tag: Any, start: int, end: int) -> None:
        match tag:
            case {"Heading": str(level)}:
                self._end_heading(int(level[1]), start, end)
            case "TableCell" if self._inline is not None:
                self._cells.append(self._inline.cell())
                self._inline = None
            case "TableHead" | "TableRow":
                self._rows.append(Row(tuple(self._cells), self.lines.at(start)))
            case "Table":
                self.tables.append(Table(self._rows[0], tuple(self._rows[1:]), self.lines.at(start)))
            case "CodeBlock" if self._info is not None:
                self.fences.append(Fence(self._info, "".join(self._code), self.lines.at(start)))
                self._info = None
            case {"List": _} | {"BlockQuote": _}:
                self._containers -= 1

    def _end_heading(self, level: int, start: int, end: int) -> None:
        if self._inline is not None and self._containers == 0:
            self.headings.append(Heading(level, self._inline.text(), self.lines.at(start), start, end))
        self._inline = None


def _sections(headings: list[Heading], source: bytes, lines: _Lines) -> Iterator[Section]:
    ends = [len(source)] * len(headings)
    open_: list[int] = []
    for index, heading in enumerate(headings):
        while open_ and headings[open_[-1]].level >= heading.level:
            ends[open_.pop()] = heading.start
        open_.append(index)
    for heading, end in zip(headings, ends, strict=True):
        below = source[heading.end : end]
        last = max(lines.at(max(end - 1, 0)), heading.line)
        yield Section(heading.level, heading.title, heading.line, last, below.decode(), lines.at(heading.end))
