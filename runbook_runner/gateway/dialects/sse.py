"""Gateway: server-sent events, as all provider APIs stream them: reading, writing, and removing secrets."""

import codecs
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from runbook_runner.gateway.dialects.base import Delta, Json

Deltas = Callable[[Json], Iterator[Delta]]

DONE: Final[Json] = {"[DONE]": True}
"""The end of a stream of OpenAI's APIs; compared by identity."""


PING: Final = b"\n"
"""No event, but a byte: some HTTP clients give up a stream without any for five minutes. Not a comment, which Gemini
CLI takes for an event that it can't read."""

_LINE_END: Final = re.compile("\r\n|\r|\n")


class LineReader:
    """Splits a stream, as it comes, into lines as most servers write them, whatever the standard allows besides: other
    line ends, a byte order mark, data over several lines."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("replace").decode
        self._incomplete: list[str] = []
        """The pieces of the last, incomplete line."""
        self._after_cr = False
        self._data: list[str] = []
        """Lines of data that may go on."""
        self._after_event = True

    @property
    def between_events(self) -> bool:
        return self._after_event and not self._data and not self._incomplete

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Yields lines with a line feed at their end."""
        text = self._decode(chunk)
        if self._after_cr and text:
            text = text.removeprefix("\n")
            self._after_cr = False
        self._after_cr = self._after_cr or text.endswith("\r")
        *lines, incomplete = _LINE_END.split(text)
        for line in lines:
            yield from self._take("".join((*self._incomplete, line)))
            self._incomplete.clear()
        if incomplete:
            self._incomplete.append(incomplete)

    def end(self) -> Iterator[str]:
        """Yields the rest; its last line is as incomplete as it came. May be called twice."""
        rest = "".join((*self._incomplete, self._decode(b"", final=True)))
        self._incomplete.clear()
        yield from self._joined()
        if rest:
            yield rest

    def _take(self, line: str) -> Iterator[str]:
        if line.startswith("data:"):
            self._data.append(line)
            return
        yield from self._joined()
        self._after_event = not line
        yield f"{line}\n"

    def _joined(self) -> Iterator[str]:
        if self._data:
            first, *others = self._data
            # In JSON, a line end means no more than a space.
            yield "".join((first, *(f" {line[5:].removeprefix(' ')}" for line in others), "\n"))
            self._data.clear()


class EventReader:
    """Splits a stream, as it comes, into its events."""

    def __init__(self) -> None:
        self._lines = LineReader()
        self._name = ""
        self._data = ""

    def feed(self, chunk: bytes) -> Iterator[tuple[str, str]]:
        """Yields the name, empty without one, and the data of each event that is complete."""
        for line in self._lines.feed(chunk):
            yield from self._take(line.removesuffix("\n"))

    def end(self) -> Iterator[tuple[str, str]]:
        """Yields the last event of a server that leaves out the blank line behind it."""
        yield from self.feed(b"\n\n")

    def _take(self, line: str) -> Iterator[tuple[str, str]]:
        field, _, value = line.partition(":")
        if field == "data":
            self._data = value.removeprefix(" ")
        elif field == "event":
            self._name = value.strip()
        elif not line:
            if self._data:
                yield self._name, self._data
            self._name, self._data = "", ""


def event(name: str, data: Json) -> bytes:
    return f"event: {name}\n{_line(data)}\n\n".encode()


def data(data: Json) -> bytes:
    """An event without a name."""
    return f"{_line(data)}\n\n".encode()


def objects(text: str) -> Iterator[Json]:
    """Yields the JSON objects of the `data:` lines, in order, without pings and incomplete lines."""
    begin = 0
    while begin < len(text):  # no list of lines: a stream may have many megabytes
        end = text.find("\n", begin)  # splitlines() would also split at characters that JSON has unescaped
        end = len(text) if end < 0 else end
        found = parse(text[begin:end])
        if found is not None:
            yield found
        begin = end + 1


def scrub(
    text: str, deltas: Deltas, clean: Callable[[str], str], clean_events: Callable[[str], str] | None = None
) -> str:
    """Returns the stream without secrets, also without those that the model wrote in pieces. clean_events: for the
    events as they are written, when that is another function.

    Every event is cleaned by itself; then the pieces of each text are joined, and where the joined text holds a
    secret its cleaned form goes to the first piece and the others become empty. Other lines stay as they are.
    """
    text = (clean_events or clean)(text)
    cleaned = _cleaned(objects(text), deltas, clean)
    return "\n".join(_with(line, deltas, cleaned) for line in text.split("\n")) if cleaned else text


def scrub_array(events: list[Any], deltas: Deltas, clean: Callable[[str], str]) -> None:
    """Removes secrets from the events of a stream that came as one JSON array, in place."""
    found = [event for event in events if isinstance(event, dict)]
    cleaned = _cleaned(found, deltas, clean)
    for event in found:
        _put(event, deltas, cleaned)


def _cleaned(events: Iterable[Json], deltas: Deltas, clean: Callable[[str], str]) -> dict[str, str]:
    """Channel → its cleaned text, for texts that contained a secret."""
    joined: dict[str, list[str]] = defaultdict(list)
    for event in events:
        for piece in deltas(event):
            joined[piece.channel].append(piece.holder[piece.key])
    return {channel: clean(whole) for channel, pieces in joined.items() if (whole := "".join(pieces)) != clean(whole)}


def _with(line: str, deltas: Deltas, cleaned: dict[str, str]) -> str:
    found = parse(line)
    return _line(found) if found is not None and _put(found, deltas, cleaned) else line


def _put(event: Json, deltas: Deltas, cleaned: dict[str, str]) -> bool:
    """Replaces pieces of cleaned texts: the first gets the whole text, the others get nothing. Returns whether any
    was there."""
    pieces = [piece for piece in deltas(event) if piece.channel in cleaned]
    for piece in pieces:
        piece.holder[piece.key], cleaned[piece.channel] = cleaned[piece.channel], ""
    return bool(pieces)


def _line(data: Json) -> str:
    """ASCII only: JSON allows lone surrogates, UTF-8 does not."""
    return "data: " + json.dumps(data, separators=(",", ":"))


def parse(line: str) -> Json | None:
    """Returns the object of a `data:` line, `DONE` for `[DONE]`, and `None` for any other line."""
    if not line.startswith("data:"):
        return None
    text = line[5:].lstrip()  # some servers leave the space out
    if text.startswith("[DONE]"):
        return DONE
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None
