"""Evaluation, compare: whether two values are the same."""

import math
from decimal import Decimal
from typing import Any, TypeAlias

Number: TypeAlias = int | float | Decimal
"""A float stands for the number that it is written as, which may not be the one that it holds."""


def real(text: str) -> float | Decimal | str:
    """A number with a fraction or an exponent, as it is written; the text itself when its exponent is too long. A float
    takes a quarter of the memory."""
    number = float(text)
    try:
        return number if repr(number) == text else Decimal(text)
    except ArithmeticError:
        return text


def same(expected: Any, found: Any, tolerance: float) -> bool:
    """For numbers, texts, dates and the like."""
    if is_number(expected) and is_number(found):
        return same_number(expected, found, tolerance)
    return type(expected) is type(found) and bool(expected == found)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def same_number(expected: Number, found: Number, tolerance: float) -> bool:
    """tolerance: below 1 absolute or relative, whichever allows more; from 1 on absolute only, as a relative one of 1
    makes nearly all numbers the same. NaN is the same as NaN."""
    is_same = expected == found if type(expected) is type(found) else _exact(expected) == _exact(found)
    if is_same or (expected != expected and found != found):
        return True
    relative = tolerance if tolerance < 1 else 0.0
    try:
        one, two = float(expected), float(found)
        return tolerance > 0 and math.isfinite(one) and math.isclose(one, two, rel_tol=relative, abs_tol=tolerance)
    except OverflowError:  # an integer that is larger than any float
        return False


def _exact(number: Number) -> int | Decimal:
    return Decimal(repr(number)) if isinstance(number, float) else number
