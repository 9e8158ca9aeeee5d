"""Core, formats: numbers from outside, so bounded that they can be summed, multiplied by a price and written: Python
writes no integer of more than 4300 digits, makes no float of one above 1e308, and JSON has no infinity."""

from typing import Any, Final

MOST: Final = 10**15
MOST_SECONDS: Final = 10**9
"""About 30 years."""


def count(value: Any) -> int:
    """A number of tokens, calls or the like: 0 for what is not one, MOST for a larger one."""
    return int(min(value, MOST)) if type(value) in (int, float) and value > 0 else 0


def amount(value: Any) -> float | None:
    """USD or seconds; `None` for what is not a number from 0 to MOST."""
    return float(value) if type(value) in (int, float) and 0 <= value <= MOST else None


def seconds(value: Any) -> float:
    """How long something took: 0 for what is not a number, MOST_SECONDS for a larger one."""
    return float(min(value, MOST_SECONDS)) if type(value) in (int, float) and value > 0 else 0.0
