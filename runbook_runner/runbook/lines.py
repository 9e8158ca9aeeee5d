"""Room `runbook`: which line a byte of a text is on."""

import re
from bisect import bisect_right


class Lines:
    """UTF-8 byte offset → line number."""

    def __init__(self, source: bytes, first_line: int):
        self._first = first_line
        self._starts = [0, *(match.end() for match in re.finditer(b"\n", source))]

    def at(self, offset: int) -> int:
        return self._first + bisect_right(self._starts, offset) - 1
