"""Docker sandbox: the `.dockerignore` of a build context: the last line that fits a path or a folder above it
decides. A line is read as Docker documents it: by the rules of Go's filepath.Match, with `**` for any folders.

The lines come with a clone, so each part of a path is matched by a pattern that does not go back, and `**` by a set of
places in the line.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from runbook_runner.core.errors import InputError

IGNORE_FILE: Final = ".dockerignore"
MAX_IGNORE_BYTES: Final = 64_000
_MAX_PARTS: Final = 1000  # of all lines together, as many names as they have between their slashes
_MAX_CLASSES: Final = 1000  # of all lines together: `re` takes a millisecond for one that is not ASCII
MOST_COMPARED: Final = 10_000_000  # names of lines with names of paths: some ten seconds
_SHOWN: Final = 100  # characters
_KEPT: Final = ("Dockerfile", IGNORE_FILE)
_ONE: Final = r"(?:\\.|[^\\\]-])"
_TERM: Final = re.compile(
    rf"(?P<any>\*+)|(?P<one>\?)|\[(?P<other>\^?+)(?P<members>(?:{_ONE}(?:-{_ONE})?)+)\]|\\(?P<plain>.)|[^\\\[]",
    re.DOTALL,
)
_MEMBERS: Final = re.compile(rf"({_ONE})(?:-({_ONE}))?", re.DOTALL)
_ANYTHING: Final = re.compile(".*", re.DOTALL)


class _Rule(NamedTuple):
    parts: tuple[re.Pattern[str] | None, ...]
    """`None` is `**`: any number of parts."""
    keeps: bool

    def fits(self, parts: Iterable[str]) -> bool:
        places = self._with_skips({0})
        for part in parts:
            on = {place + 1 for place in places if (own := self.parts[place]) and own.fullmatch(part)}
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
        """left: names that may be compared. Raises InputError for a line that is not a pattern, and for more lines than
        can be matched in time."""
        text = content.decode("utf-8-sig", "replace")
        if text.count("[") > _MAX_CLASSES:
            raise InputError(f"The {IGNORE_FILE} has more than {_MAX_CLASSES} classes of characters.")
        lines = (line.strip() for line in text.split("\n") if not line.startswith("#"))
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
    """Returns one without parts for a line that leaves nothing out. Raises InputError."""
    keeps = line.startswith("!")
    names = [name for name in posixpath.normpath(line.removeprefix("!").strip()).split("/") if name not in ("", ".")]
    if ".." in names:  # now only at its beginning: it leads out of the folder
        return _Rule((), keeps)
    parts = [None if name == "**" else _pattern(name) for name in names]
    return _Rule((*parts, *([_ANYTHING] if parts[-1:] == [None] else [])), keeps)


def _pattern(name: str) -> re.Pattern[str]:
    """Raises InputError."""
    *begin, end = _pieces(name)
    # A piece behind a `*` is looked for once, where it is first.
    found = "".join(f"(?>{'.*?' if at else ''}{piece})" for at, piece in enumerate(begin))
    try:
        return re.compile(f"{found}{'.*' if begin else ''}{end}", re.DOTALL)
    except re.error as error:  # a range whose end is before its beginning
        raise _unreadable(name) from error


def _pieces(name: str) -> Iterator[str]:
    """Yields what is between the `*` of a name, as regular expressions. Raises InputError."""
    at, piece = 0, list[str]()
    while at < len(name):
        term = _TERM.match(name, at)
        if term is None:
            raise _unreadable(name)
        at = term.end()
        if term["any"]:
            yield "".join(piece)
            piece = []
        elif members := term["members"]:
            ranges = (
                re.escape(low[-1]) + (f"-{re.escape(high[-1])}" if high else "")
                for low, high in _MEMBERS.findall(members)
            )
            piece.append(f"[{term['other']}{''.join(ranges)}]")
        else:
            piece.append("." if term["one"] else re.escape(term["plain"] or term[0]))
    yield "".join(piece)


def _unreadable(name: str) -> InputError:
    return InputError(
        f"The {IGNORE_FILE} has a pattern that can't be read: {name[:_SHOWN]!r}.",
        hint="Close each `[`, and write `\\[` for the character.",
    )
