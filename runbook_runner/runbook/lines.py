"""Room `runbook`: which line a byte of a text is on."""

from bisect import bisect_right
from itertools import accumulate


class Lines:
    """UTF-8 byte offset → line number."""

    def __init__(self, source: bytes, first_line: int):
        self._first = first_line
        lengths = [len(line) + 1 for line in source.split(b"\n")]
        self._starts = [0, *accumulate(lengths[:-1])]

    def at(self, offset: int) -> int:
        return self._first + bisect_right(self._starts, offset) - 1
