"""Room `runbook`: the list items of a Markdown text, each with its 1-based line and, for a task, its box."""

from itertools import islice
from typing import Any, NamedTuple

import pyromark

from runbook_runner.runbook.markdown.blocks import MAX_PIECES
from runbook_runner.runbook.markdown.tables import OPTIONS

_OPTIONS = OPTIONS | pyromark.Options.ENABLE_TASKLISTS
_BLOCKS = frozenset({"CodeBlock", "BlockQuote", "HtmlBlock", "Table", "Heading", "List", "FootnoteDefinition"})


class Item(NamedTuple):
    text: str
    """Its first paragraph as it is written, marks included, on one line."""
    line: int
    checked: bool | None
    """`[x]`, `[ ]`; `None`: an ordinary item."""


def list_items(text: str, first_line: int = 1) -> tuple[Item, ...]:
    """All items in order, nested ones after the item that holds them; of an endless text those at its beginning.

    Never raises for text UTF-8 can carry.

    first_line: line number of the text's first line in the file it comes from.
    """
    reader = _Reader(text.encode(), first_line)
    for event, span in islice(pyromark.events_with_range(text, options=_OPTIONS), MAX_PIECES):
        reader.feed(event, span["start"], span["end"])
    return tuple(draft.item(reader.source) for draft in reader.drafts)


def tasks(text: str, first_line: int = 1) -> tuple[Item, ...]:
    """The items with a box and something to do behind it: `- [ ] x`, `* [x] y`."""
    return tuple(item for item in list_items(text, first_line) if item.checked is not None and item.text)


class _Draft:
    def __init__(self, line: int):
        self.line = line
        self.start: int | None = None
        self.end = 0
        self.checked: bool | None = None
        self.closed = False

    def extend(self, start: int, end: int) -> None:
        if not self.closed:
            self.start = start if self.start is None else self.start
            self.end = max(self.end, end)

    def item(self, source: bytes) -> Item:
        text = source[self.start : self.end].decode() if self.start is not None else ""
        return Item(" ".join(text.split()), self.line, self.checked)


class _Reader:
    def __init__(self, source: bytes, first_line: int):
        self.source = source
        self.drafts: list[_Draft] = []
        self._open: list[_Draft] = []
        self._line = first_line
        self._counted = 0

    def feed(self, event: Any, start: int, end: int) -> None:
        match event:
            case {"Start": "Item"}:
                self._open.append(_Draft(self._line_at(start)))
                self.drafts.append(self._open[-1])
            case {"End": "Item"}:
                self._open.pop()
            case {"TaskListMarker": bool(checked)} if self._open:
                self._open[-1].checked = checked
            case {"Start": tag} | {"End": tag} if self._open and _name(tag) in _BLOCKS:
                self._open[-1].closed = True
            case {"End": "Paragraph"} if self._open:
                self._open[-1].closed = True
            case {"Start": "Paragraph"}:
                pass
            case _ if self._open:
                self._open[-1].extend(start, end)

    def _line_at(self, offset: int) -> int:
        """Items begin in order, so each line end is counted once."""
        self._line += self.source.count(b"\n", self._counted, offset)
        self._counted = offset
        return self._line


def _name(tag: Any) -> str:
    return tag if isinstance(tag, str) else next(iter(tag), "") if isinstance(tag, dict) else ""
