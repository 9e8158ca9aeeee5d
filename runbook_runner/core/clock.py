"""Core: the time, and how the contract writes it."""

import re
from datetime import UTC, datetime
from typing import Any, Final

BEGINNING: Final = "1970-01-01T00:00:00.000000Z"
"""Stands for the time of what says no time."""
_AS_WRITTEN: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
"""By `iso`."""


def utc_now() -> datetime:
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """ISO-8601 UTC with microseconds and Z, as every timestamp of the contract (§1.1) is written."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def now_iso() -> str:
    return iso(utc_now())


def seconds_between(earlier: str, later: str) -> float:
    """Both as `iso()` writes them."""
    return round((datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds(), 6)


def moment(value: Any) -> str | None:
    """A time of ISO 8601 (without a zone: UTC) or in seconds or milliseconds since 1970; `None` for anything else."""
    try:
        if isinstance(value, str) and len(value) <= 64:
            read = datetime.fromisoformat(value)
            if _AS_WRITTEN.fullmatch(value):
                return value  # as nearly all of them are; a log may have a million
            return iso(read if read.tzinfo else read.replace(tzinfo=UTC))
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return iso(datetime.fromtimestamp(value / 1000 if value > 1e11 else value, UTC))
    except (ValueError, OverflowError, OSError):
        pass
    return None
