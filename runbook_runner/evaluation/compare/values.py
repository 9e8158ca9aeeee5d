"""Evaluation, compare: whether two values are the same, and how both are shown when they are not."""

import json
import math
from bisect import bisect_left
from typing import Any, Final

from runbook_runner.core.text import counted, printable_name

_MOST_SHOWN: Final = 80
"""Characters of a value."""
_BEFORE: Final = 20
"""Characters that are shown before the first one that differs."""


def same(expected: Any, found: Any, tolerance: float) -> bool:
    """For numbers, texts, dates and the like."""
    if is_number(expected) and is_number(found):
        return same_number(expected, found, tolerance)
    return type(expected) is type(found) and bool(expected == found)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def same_number(expected: float, found: float, tolerance: float) -> bool:
    """tolerance: absolute or relative, whichever allows more. NaN is the same as NaN."""
    if expected == found or (expected != expected and found != found):
        return True
    try:
        return tolerance > 0 and math.isclose(expected, found, rel_tol=tolerance, abs_tol=tolerance)
    except OverflowError:  # an integer that is larger than any float
        return False


def told(expected: Any, found: Any) -> str:
    """`expected …, found …`; of long texts, what is around the first difference."""
    begin = 0
    if isinstance(expected, str) and isinstance(found, str) and max(len(expected), len(found)) > _MOST_SHOWN:
        begin = max(0, _first_difference(expected, found) - _BEFORE)
    return f"expected {shown(expected, begin)}, found {shown(found, begin)}"


def shown(value: Any, begin: int = 0) -> str:
    """begin: how many characters of a text are left out before."""
    if isinstance(value, str):
        part = printable_name(value[begin : begin + _MOST_SHOWN])
        return f'"{"…" * (begin > 0)}{part}{"…" * (len(value) > begin + _MOST_SHOWN)}"'
    if isinstance(value, dict):
        return f"an object with {counted(len(value), 'key')}"
    if isinstance(value, (list, tuple)):
        return f"a list of {counted(len(value), 'item')}"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    try:
        text = str(value).removesuffix(".0")
    except ValueError:  # an integer of more digits than Python writes
        return "a number that is too long"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _first_difference(one: str, two: str) -> int:
    """How many characters are the same at the beginning. Slices are compared a thousand times faster than letters."""
    return bisect_left(range(min(len(one), len(two))), True, key=lambda at: one[: at + 1] != two[: at + 1])
