"""Docker sandbox: the `.dockerignore` of a build context: the last line that fits a path or a folder above it
decides.

The lines come with a clone, so each part of a path is matched by a pattern that does not go back (as `fnmatch` makes
them), and `**` by a set of places in the line.
"""

import re
from collections.abc import Iterable
from fnmatch import translate
from typing import Final, NamedTuple

from runbook_runner.core.errors import InputError

IGNORE_FILE: Final = ".dockerignore"
MAX_IGNORE_BYTES: Final = 64_000
_MAX_PARTS: Final = 1000  # of all lines together, as many names as they have between their slashes
MOST_COMPARED: Final = 10_000_000  # names of lines with names of paths: some ten seconds
_KEPT: Final = ("Dockerfile", IGNORE_FILE)


class _Rule(NamedTuple):
    parts: tuple[re.Pattern[str] | None, ...]
    """`None` is `**`: any number of parts."""
    keeps: bool

    def fits(self, parts: Iterable[str]) -> bool:
        places = self._with_skips({0})
        for part in parts:
            on = {place + 1 for place in places if (own := self.parts[place]) and own.match(part)}
            places = self._with_skips(on | {place for place in places if self.parts[place] is None})
            if len(self.parts) in places:
                return True
        return False

    def _with_skips(self, places: set[int]) -> set[int]:
        for place in range(len(self.parts)):
            if place in places and self.parts[place] is None:
                places.add(place + 1)
        return places


class Ignored:
    def __init__(self, content: bytes, left: int):
        """left: names that may be compared. Raises InputError for more lines than can be matched in time."""
        lines = (line.strip() for line in content.decode(errors="replace").splitlines() if not line.startswith("#"))
        self._rules = [rule for line in lines if (rule := _rule(line)).parts]
        self.left, self._names = left, sum(len(rule.parts) for rule in self._rules)
        if self._names > _MAX_PARTS:
            raise InputError(f"The {IGNORE_FILE} has more than {_MAX_PARTS} names.")

    def has(self, path: str) -> bool:
        """Raises InputError when all paths together are more than can be matched in time."""
        if path in _KEPT:
            return False
        parts = path.split("/")
        self.left -= self._names * len(parts)
        if self.left < 0:
            raise InputError(f"The {IGNORE_FILE} has too many names for so many files.")
        return next((not rule.keeps for rule in reversed(self._rules) if rule.fits(parts)), False)

    def has_all_of(self, folder: str) -> bool:
        """Whether nothing below the folder can be kept."""
        return not any(rule.keeps for rule in self._rules) and self.has(folder)


def _rule(line: str) -> _Rule:
    keeps = line.startswith("!")
    parts: list[str] = []
    for part in line.removeprefix("!").strip().split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part not in ("", ".", ".."):
            parts.append(part.replace("[^", "[!"))
    return _Rule(tuple(None if part == "**" else re.compile(translate(part)) for part in parts), keeps)
