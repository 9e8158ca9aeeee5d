"""Room `runbook`, `quoting`: what a place in code is, and how a value is written where nothing can be quoted."""

import re
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import NamedTuple

from runbook_runner.runbook.parts.substitution import PLACEHOLDER

PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
"""A value that means the same in every place: no shell and no program finds more in it than one word."""
BARE = "outside of quotes"


class UnquotableError(Exception):
    """The value can't be written in this place; the message says what the place is."""


class LostError(Exception):
    """The code's quotes and brackets do not match, as far as they are understood."""


class Place(NamedTuple):
    """A placeholder in code."""

    start: int
    end: int
    name: str
    where: str
    """What the place is, for people: `in double quotes`."""
    write: Callable[[str], str]
    """The value as it is written there. Raises UnquotableError."""


def unquotable(start: int, end: int, name: str, where: str) -> Place:
    """A place in which a plain value can be written, and no other."""
    return Place(start, end, name, where, partial(_plain, where))


def _plain(where: str, value: str) -> str:
    if PLAIN.fullmatch(value):
        return value
    raise UnquotableError(where)


def unquotable_places(code: str, names: Collection[str], where: str) -> Iterator[Place]:
    """All placeholders of the code."""
    for match in PLACEHOLDER.finditer(code):
        if match["name"] in names:
            yield unquotable(match.start(), match.end(), match["name"], where)
