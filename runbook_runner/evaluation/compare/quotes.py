"""Evaluation, compare: what messages quote of the files. The process that compares does not know the run's secrets: it
sends more than is shown, and the process that does know them cleans it before it cuts, so that no secret is halved."""

import json
import re
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from runbook_runner.core.text import counted, printable_name

Clean = Callable[[str], str]
"""Removes the secrets of a run from a text."""
_MOST_SHOWN: Final = 80
"""Characters of a value."""
_BEFORE: Final = 20
"""Characters that are shown before the first one that differs."""
_AROUND: Final = 1 << 16
"""Characters that are sent before and after those that are shown."""
_SENT: Final = re.compile("\0([^\0]*)\0")


class _Quote(NamedTuple):
    text: str
    most: int = _MOST_SHOWN
    """Characters that are shown of it."""
    mark: str = ""
    """What stands before and after it."""
    is_cut_before: bool = False
    is_cut_after: bool = False
    whole: str = ""
    """What it was before what does not count was taken out of it; empty: the same."""


# --- in the process that compares ----------------------------------------------------------------------------------


def told(expected: Any, found: Any, wholes: tuple[str, str] = ("", "")) -> str:
    """`expected …, found …`; of long texts, what is around the first difference. wholes: both before what does not
    count was taken out of them, which may have been a part of a secret: then they are shown."""
    begin = 0
    if isinstance(expected, str) and isinstance(found, str) and max(len(expected), len(found)) > _AROUND:
        begin = max(0, _first_difference(expected, found) - _AROUND)
    quotes = (_quote(value, begin) for value in (expected, found))
    pairs = zip(quotes, wholes, strict=True)
    return f"expected {_sent(*(quote._replace(whole=whole[: 2 * _AROUND]) for quote, whole in pairs))}"


def shown(value: Any) -> str:
    return _sent(_quote(value))


def cut(text: str, most: int) -> str:
    """The text without quotation marks, and of a longer one the beginning. most: its characters."""
    return _sent(_Quote(text[:_AROUND], most, is_cut_after=len(text) > _AROUND))


def _quote(value: Any, begin: int = 0) -> _Quote:
    """begin: how many characters of a text are left out before."""
    if isinstance(value, str):
        end = begin + 2 * _AROUND
        return _Quote(value[begin:end], mark='"', is_cut_before=begin > 0, is_cut_after=len(value) > end)
    if isinstance(value, dict):
        return _Quote(f"an object with {counted(len(value), 'key')}")
    if isinstance(value, (list, tuple)):
        return _Quote(f"a list of {counted(len(value), 'item')}")
    if value is None or isinstance(value, bool):
        return _Quote(json.dumps(value))
    try:
        return _Quote(str(value).removesuffix(".0"))
    except ValueError:  # an integer of more digits than Python writes
        return _Quote("a number that is too long")


def _sent(*quotes: _Quote) -> str:
    """JSON has an escape for the character that stands around it."""
    return f"\0{json.dumps(quotes)}\0"


# --- in the process that knows the secrets -------------------------------------------------------------------------


def written(message: str, clean: Clean) -> str:
    """The message as people read it. Raises TypeError, ValueError for what the functions above have not written."""
    return _SENT.sub(lambda sent: _written([_Quote(*quote) for quote in json.loads(sent[1])], clean), message)


def _written(quotes: list[_Quote], clean: Clean) -> str:
    cleaned = [_cleaned(quote, clean) for quote in quotes]
    begin = 0
    if len(cleaned) == 2 and all(quote.mark for quote in cleaned) and any(map(_is_long, cleaned)):
        begin = max(0, _first_difference(*(quote.text for quote in cleaned)) - _BEFORE)
    return ", found ".join(_shown(quote, begin) for quote in cleaned)


def _cleaned(quote: _Quote, clean: Clean) -> _Quote:
    whole = clean(quote.whole)
    if whole != quote.whole:
        return quote._replace(text=whole, is_cut_before=False)
    return quote._replace(text=clean(quote.text))


def _shown(quote: _Quote, begin: int) -> str:
    """begin: how many characters are left out before."""
    text = quote.text
    if quote.is_cut_after:  # where it was cut, half a secret may stand
        begin = min(begin, max(0, len(text) - _AROUND // 2))
    end = begin + quote.most
    before = "…" * (begin > 0 or quote.is_cut_before)
    after = "…" * (len(text) > end or quote.is_cut_after)
    return f"{quote.mark}{before}{printable_name(text[begin:end])}{after}{quote.mark}"


def _is_long(quote: _Quote) -> bool:
    return quote.is_cut_before or len(quote.text) > quote.most


# --- in both -------------------------------------------------------------------------------------------------------


def _first_difference(one: str, two: str) -> int:
    """How many characters are the same at the beginning. Slices are compared a thousand times faster than letters."""
    return bisect_left(range(min(len(one), len(two))), True, key=lambda at: one[: at + 1] != two[: at + 1])
