"""Core, redaction: finds what xxd, `hexdump` and `od` print: there a value is in several lines of hex digits, with
offsets and a column of letters in between."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple

_LINE: Final = re.compile(
    rb"(?:\A|\r?\n|\\n|\")0[0-9a-f]{5,15}:?[ \t]{1,4}((?:[0-9a-f]{2}[ \t]{0,2}){1,16}+)"
    rb"(?:(?:(?!\\n0)[^\r\n]){0,90}(?=\r?\n|\Z)|[^\r\n]{0,90}?(?=\\n|(?<!\\)\"))",  # of a text, or of one in JSON
    re.IGNORECASE,
)
_BEGINS: Final = (b"\n00", b"\\n00", b'"00')
_BLANKS: Final = b" \t"


class Dump(NamedTuple):
    """Lines without a gap."""

    content: bytes
    at: list[int]
    """Of each line: where its bytes begin in the content."""
    places: list[tuple[int, int]]
    """Of each line: where its digits begin and where it ends in the text."""

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Where the lines of a part of the content are in the text."""
        first, last = bisect_right(self.at, start) - 1, bisect_left(self.at, end) - 1
        return self.places[first][0], self.places[last][1]


def dumps(data: bytes) -> Iterator[Dump]:
    """Yields each dump twice: programs print words of two bytes in this machine's order, too."""
    if not (data.startswith(b"00") or any(begin in data for begin in _BEGINS)):
        return
    content, at, places = bytearray(), list[int](), list[tuple[int, int]]()
    for match in _LINE.finditer(data):
        if places and match.start() != places[-1][1]:
            yield from _both(bytes(content), at, places)
            content, at, places = bytearray(), [], []
        at.append(len(content))
        places.append((match.start(1), match.end()))
        content += bytes.fromhex(match[1].translate(None, _BLANKS).decode())
    if places:
        yield from _both(bytes(content), at, places)


def _both(content: bytes, at: list[int], places: list[tuple[int, int]]) -> Iterator[Dump]:
    swapped = bytearray(len(content) + len(content) % 2)
    swapped[0::2], swapped[1::2] = content[1::2].ljust(len(swapped) // 2, b"\0"), content[0::2]
    yield Dump(content, at, places)
    yield Dump(bytes(swapped), at, places)
