"""Core, formats: dates, times and ages as options take them: 2026-11-01, 2026-11-01T12:00, 90min, 12h, 7d, 2w."""

import re
from datetime import date, datetime, timedelta
from typing import Final

from runbook_runner.core.clock import iso, utc_now
from runbook_runner.core.errors import InputError

EXAMPLES: Final = "2026-11-01, 2026-11-01T12:00, 90min, 12h, 7d or 2w"
_AGE: Final = re.compile(r"(\d{1,6})\s*(s|m|min|h|d|w|mo|y)")
_UNITS: Final = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment_of(text: str, option: str) -> str:
    """The ISO timestamp of a date, of a time (without a zone: that of this machine), or of an age. Raises InputError,
    also for `5m`, which can mean minutes and months."""
    age = _AGE.fullmatch(text.strip())
    if age and age[2] == "m":
        days = int(age[1]) * 30
        hint = f"Write {age[1]}min for minutes, or {days}d for months."
        raise InputError(f"{text!r} can mean minutes or months.", where=option, hint=hint)
    try:
        if age:
            return iso(utc_now() - timedelta(**{_UNITS[age[2]]: int(age[1])}))
        return date.fromisoformat(text).isoformat() if len(text) == 10 else iso(datetime.fromisoformat(text))
    except (KeyError, ValueError, OverflowError):
        raise InputError(
            f"{text!r} is not a date or an age.", where=option, hint=f"Write it like {EXAMPLES}."
        ) from None
