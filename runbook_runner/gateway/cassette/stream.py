"""Gateway: an event stream that is parsed, cleaned of secrets and written to the cassette as it comes."""

from collections import defaultdict
from typing import Final

from runbook_runner.gateway.cassette.blobs import BlobWriter
from runbook_runner.gateway.cassette.cassette import Body, Cassette
from runbook_runner.gateway.dialects import sse
from runbook_runner.gateway.dialects.base import NO_EVENTS, Dialect, ParsedResponse

SEGMENT_CHARS: Final = 256 << 10
_RETRY_FACTOR: Final = 1.25  # how much a segment must have grown before another attempt to cut it


class RecordedStream:
    """One streamed answer, of any length in bounded memory.

    It is cut into segments between two lines where no secret can extend across the cut, neither in the raw text nor in
    a text that the model writes in pieces; each segment is cleaned by itself. Nothing is written until there is such a
    place. Nearly all answers are one segment.
    """

    def __init__(self, dialect: Dialect, cassette: Cassette):
        self.parsed: ParsedResponse = NO_EVENTS
        """The answer so far."""
        self._dialect = dialect
        self._cassette = cassette
        self.said_chars = 0
        """Characters that the model has written so far."""
        self._reader = sse.LineReader()
        self._lines: list[str] = []
        self._texts: dict[str, list[str]] = defaultdict(list)
        """Channel → its pieces in `_lines`."""
        self._size = 0
        self._cut_at: float = SEGMENT_CHARS
        self._blob: BlobWriter | None = None

    def add(self, chunk: bytes) -> None:
        """Raises RecordingError."""
        for line in self._reader.feed(chunk):
            self._take(line)
        if self._size >= self._cut_at:
            self._cut()

    @property
    def between_events(self) -> bool:
        return self._reader.between_events

    def end(self) -> None:
        """The stream has ended. May be called twice."""
        for line in self._reader.end():
            self._take(line)

    def keep(self, content_type: str) -> Body | None:
        """Stores the rest. Returns the body of the whole answer; `None` when it is empty or this cassette keeps no
        bodies. Raises RecordingError."""
        if self._blob is None:
            return self._cassette.keep_cleaned(self._cleaned(), content_type) if self._lines else None
        self._blob.write(_encoded(self._cleaned()))
        digest, self._blob = self._blob.close(), None
        return self._cassette.text_body(digest, content_type)

    def discard(self) -> None:
        """Removes what was written. Does nothing after `keep`."""
        if self._blob is not None:
            self._blob.discard()

    def _take(self, line: str) -> None:
        event = sse.parse(line)
        pieces = list(self._dialect.deltas(event)) if event is not None else []
        self.said_chars += sum(len(piece.holder[piece.key]) for piece in pieces)
        if event is not None:
            self.parsed = self._dialect.add_event(self.parsed, event)
        if not self._cassette.keeps_bodies:
            return
        self._lines.append(line)
        self._size += len(line)
        for piece in pieces:
            self._texts[piece.channel].append(piece.holder[piece.key])

    def _cut(self) -> None:
        if any(map(self._cassette.unfinished, ("".join(self._lines), *map("".join, self._texts.values())))):
            self._cut_at = self._size * _RETRY_FACTOR
            return
        self._blob = self._blob or self._cassette.writer()
        self._blob.write(_encoded(self._cleaned()))
        self._lines.clear()
        self._texts.clear()
        self._size, self._cut_at = 0, SEGMENT_CHARS

    def _cleaned(self) -> str:
        text, clean, said = "".join(self._lines), self._cassette.clean, self._cassette.clean_said
        if clean(text) == text and all(said(whole) == whole for whole in map("".join, self._texts.values())):
            return text
        return sse.scrub(text, self._dialect.deltas, said, clean)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
