"""Evaluation, compare: whether two values are the same."""

import math
from typing import Any


def same(expected: Any, found: Any, tolerance: float) -> bool:
    """For numbers, texts, dates and the like."""
    if is_number(expected) and is_number(found):
        return same_number(expected, found, tolerance)
    return type(expected) is type(found) and bool(expected == found)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def same_number(expected: float, found: float, tolerance: float) -> bool:
    """tolerance: below 1 absolute or relative, whichever allows more; from 1 on absolute only, as a relative one of 1
    makes nearly all numbers the same. NaN is the same as NaN."""
    if expected == found or (expected != expected and found != found):
        return True
    relative = tolerance if tolerance < 1 else 0.0
    try:
        return tolerance > 0 and math.isclose(expected, found, rel_tol=relative, abs_tol=tolerance)
    except OverflowError:  # an integer that is larger than any float
        return False
