"""Room `runbook`: headings, sections, tables, fences and links of a Markdown text, each with its 1-based line.

CommonMark plus GitHub tables, read by pulldown-cmark, so headings and tables inside fences do not count.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import cache, partial
from itertools import islice, takewhile
from typing import Any, NamedTuple, TypeVar

import pyromark

from runbook_runner.runbook.markdown.tables import OPTIONS, Inline, Lines, Table, read_rows, read_table

MAX_PIECES = 400_000
"""Events of one document: a runbook has a few thousand, a table of 10,000 rows about 100,000."""
MAX_PARTS = 10_000
"""Headings, tables and code blocks of one document together."""
MAX_ROWS = 10_000
"""Rows of all its tables together."""

BEYOND_BOUNDS = "The document has more pieces than any runbook: from here on nothing but its text is read."

_STEP_PREFIX = re.compile(r"\Astep\s+\d+\s*[:.]\s*", re.IGNORECASE)
_END_OF_TABLE = {"End": "Table"}
_Span = Any
_Event = tuple[Any, _Span]
"""`{"Start": tag}`, `{"End": tag}`, `{"Text": …}`, `{"Code": …}` or a bare word, and its UTF-8 byte range."""


# A large document has thousands of each: a named tuple is made in a third of a dataclass's time.


class Heading(NamedTuple):
    level: int
    title: str
    """Plain text: no emphasis marks, no back-ticks."""
    line: int
    start: int
    """UTF-8 byte offset of the heading; `end` is where the text below it begins."""
    end: int


class Section(NamedTuple):
    """A heading and all below it, subsections included, up to the next heading of its level or a higher one."""

    level: int
    title: str
    name: str
    """The title in lower case without its `Step N:` or `Step N.`; sections are looked up by it (contract §3.4)."""
    line: int
    end_line: int
    """Last line of the section."""
    text_line: int
    """Line on which `text` begins."""
    start: int
    """UTF-8 byte offset of `text` in `source`."""
    end: int
    source: bytes

    @property
    def text(self) -> str:
        """The Markdown below the heading, byte for byte."""
        return self.source[self.start : self.end].decode()

    @property
    def is_empty(self) -> bool:
        return not self.source[self.start : self.end].strip()

    def __repr__(self) -> str:
        return f"Section({'#' * self.level} {self.title}, lines {self.line} to {self.end_line})"


class Fence(NamedTuple):
    """A fenced code block."""

    info: str
    code: str
    line: int
    """Line of the opening fence."""
    end_line: int
    """Line of the closing fence; the last line of the code when there is none."""


class Outline(NamedTuple):
    headings: tuple[Heading, ...]
    """Top-level ones only: a heading in a list item or a block quote opens no section."""
    sections: tuple[Section, ...]
    tables: tuple[Table, ...]
    fences: tuple[Fence, ...]
    cut_line: int | None = None
    """Where reading stopped because the document has more than that; `None`: it was read to its end."""

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

    Never raises for any text that UTF-8 can carry. Bounded: what comes after MAX_PIECES, MAX_PARTS or MAX_ROWS is
    plain text of the last section.
    """
    reader = _Reader(text, first_line)
    reader.read()
    return Outline(
        headings=tuple(reader.headings),
        sections=tuple(_sections(reader.headings, reader.source, reader.lines)),
        tables=tuple(reader.tables),
        fences=tuple(reader.fences),
        cut_line=reader.cut_line,
    )


class _Reader:
    """One pass over the events. Written for speed: of a typical runbook nine events in ten have no meaning here, so the
    loop looks only at what opens a block, and each block takes its own events from the same iterator."""

    def __init__(self, text: str, first_line: int):
        self.source = text.encode()
        self.lines = Lines(self.source, first_line)
        self.headings: list[Heading] = []
        self.tables: list[Table] = []
        self.fences: list[Fence] = []
        self.cut_line: int | None = None
        self._rows_left = MAX_ROWS
        self._may_refer = b"]:" in self.source  # a cell's link may get its address from elsewhere in the text
        self._source_events: Iterator[Any] = pyromark.events_with_range(text, options=OPTIONS)
        self._events: Iterator[_Event] = islice(self._source_events, MAX_PIECES)

    def read(self) -> None:
        containers = 0
        span: _Span = {"start": 0}
        for event, span in self._events:
            if "Start" in event:  # also asks the bare words, which hold no such word
                tag: Any = event["Start"]
                if tag.__class__ is not dict:
                    continue
                if "List" in tag or "BlockQuote" in tag:
                    containers += 1
                elif self._is_full():
                    break
                elif "Heading" in tag:
                    self._heading(span, is_top=containers == 0)
                elif "CodeBlock" in tag:
                    self._code_block(tag["CodeBlock"], span)
                elif "Table" in tag:
                    self._table(span, is_top=containers == 0)
                    if self.cut_line is not None:
                        return
            elif containers and "End" in event and ("List" in event["End"] or "BlockQuote" in event["End"]):
                containers -= 1
        if next(self._source_events, None) is not None:
            self.cut_line = self.lines.at(span["start"])

    def _is_full(self) -> bool:
        return len(self.headings) + len(self.tables) + len(self.fences) >= MAX_PARTS

    def _heading(self, span: _Span, *, is_top: bool) -> None:
        inline = Inline()
        for event, _ in self._events:
            if "End" in event and event["End"].__class__ is dict and "Heading" in event["End"]:
                if is_top:
                    start, end, level = span["start"], span["end"], int(event["End"]["Heading"][1])
                    self.headings.append(Heading(level, inline.text(), self.lines.at(start), start, end))
                return
            inline.feed(event)

    def _code_block(self, kind: Any, span: _Span) -> None:
        code = []
        for event, _ in self._events:
            if "Text" not in event:
                break
            code.append(event["Text"])
        if kind.__class__ is dict:
            first, last = self.lines.at(span["start"]), self.lines.at(span["end"] - 1)
            self.fences.append(Fence(kind["Fenced"], "".join(code), first, last))

    def _table(self, span: _Span, *, is_top: bool) -> None:
        """A top-level table is skipped here and parsed by itself when its cells are asked for."""
        line = self.lines.at(span["start"])
        most = self._take_rows(line, self.lines.at(span["end"] - 1))
        if is_top and not self._may_refer:
            for event, _ in self._events:
                if event == _END_OF_TABLE:
                    break
            source = self.source[span["start"] : span["end"]]
            self.tables.append(Table(line, cache(partial(read_table, source, line, most))))
        else:
            events = list(takewhile(lambda item: item[0] != _END_OF_TABLE, self._events))
            self.tables.append(Table(line, cache(partial(read_rows, events, self.lines, most))))

    def _take_rows(self, first: int, last: int) -> int:
        """How many rows of the table on these lines may be read."""
        header, rows = 2, last - first - 1
        if rows > self._rows_left:
            self.cut_line = first + header + self._rows_left
        most = self._rows_left
        self._rows_left -= min(max(rows, 0), most)
        return most


def _sections(headings: list[Heading], source: bytes, lines: Lines) -> Iterator[Section]:
    ends = [len(source)] * len(headings)
    open_: list[int] = []
    for index, heading in enumerate(headings):
        while open_ and headings[open_[-1]].level >= heading.level:
            ends[open_.pop()] = heading.start
        open_.append(index)
    for (level, title, line, _, start), end in zip(headings, ends, strict=True):
        last = max(lines.at(max(end - 1, 0)), line)
        name = _STEP_PREFIX.sub("", title, count=1).strip().lower()
        yield Section(level, title, name, line, last, lines.at(start), start, end, source)


def inline_links(text: str) -> Iterator[tuple[int, str]]:
    """Links and images outside code: UTF-8 byte offset and destination, in order;
    of an endless text those at its beginning."""
    for event, span in islice(pyromark.events_with_range(text, options=OPTIONS), MAX_PIECES):
        tag: Any = event.get("Start") if isinstance(event, dict) else None
        if isinstance(tag, dict) and (link := tag.get("Link") or tag.get("Image")) and link["link_type"] == "Inline":
            yield span["start"], link["dest_url"]


def inline_codes(text: str) -> Iterator[str]:
    """Code spans, in order; of an endless text those at its beginning."""
    for event in islice(pyromark.events(text, options=OPTIONS), MAX_PIECES):
        if isinstance(event, dict) and isinstance(code := event.get("Code"), str):
            yield code
