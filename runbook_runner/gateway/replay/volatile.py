"""Gateway: what is volatile in a request, which means that it differs between two runs of the same thing; removes it.

A replay compares requests. Session ids, the day, random folders and the gateway's own address change from run to run
without a meaning; each is replaced by a word for its kind before two texts are compared.
"""

import re
from collections.abc import Callable, Iterable
from datetime import date, datetime
from typing import Final

Normalise = Callable[[str], str]
"""Returns the text without what is volatile."""

CALLER_KEYS: Final = frozenset({"metadata", "prompt_cache_key", "client_metadata", "safety_identifier", "user"})
"""Top-level fields of a request that identify the caller."""

ID_KEYS: Final = frozenset({"id", "tool_use_id", "tool_call_id", "call_id", "item_id", "response_id"})
"""Keys whose string value only connects a tool's output with its call."""

_UUID = r"(?<![0-9a-fA-F-])[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}(?![0-9a-fA-F-])"
_TEMP = r"(?<![\w.])(/private)?/(tmp|var/tmp|var/folders/\w+/\w+/T)/[^\s/\"'`<>()\[\]{},;:]+"
_ADDRESS = r"(https?://)(127\.0\.0\.1|localhost|host\.docker\.internal|1(?:0|72|92)(?:\.\d{1,3}){3}):\d{2,5}"
_REPLACED: Final = (
    (re.compile(_UUID), "<uuid>"),
    (re.compile(_TEMP), r"/\2/<temp>"),
    (re.compile(_ADDRESS), r"\1<address>"),
)
_CLOCK = r"(?:,?[T ]\s?\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\s?[AP]M)?(?:\s?(?:Z|UTC|GMT|[+-]\d{2}:?\d{2}))?)?"

_REDACTION_MARK: Final = re.compile(r"\*\*\*REDACTED:[^*]*\*\*\*")

_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def normaliser(days: Iterable[date]) -> Normalise:
    """days: the dates of the cassette and of this run. Only they and the days before and after are volatile: any other
    date in a request is data."""
    first, last = date.min.toordinal(), date.max.toordinal()
    beside = {day.toordinal() + n for day in days for n in (-1, 0, 1)}
    around = {date.fromordinal(day) for day in beside if first <= day <= last}
    forms = sorted({form for day in around for form in _forms(day)}, key=len, reverse=True)
    today = re.compile(rf"(?<!\d)(?:{'|'.join(map(re.escape, forms))}){_CLOCK}(?!\d)") if forms else None
    years = tuple(str(day.year) for day in around)

    def normalise(text: str) -> str:
        for pattern, word in _REPLACED:
            text = pattern.sub(word, text)
        if today and any(year in text for year in years):
            text = today.sub("<today>", text)
        return text

    return normalise


def days_of(timestamps: Iterable[str]) -> set[date]:
    """Returns the dates of ISO timestamps."""
    return {datetime.fromisoformat(text).date() for text in timestamps}


def without_redaction_marks(text: str) -> str:
    """Returns the text without the names of secrets: the same secret may have another name on another machine."""
    return _REDACTION_MARK.sub("<secret>", text)


def _forms(day: date) -> Iterable[str]:
    """Yields the forms in which agents write a date. strftime depends on the locale and on the platform."""
    weekday, month = _WEEKDAYS[day.weekday()], _MONTHS[day.month - 1]
    yield day.isoformat()
    yield day.strftime("%Y/%m/%d")
    yield f"{weekday}, {month} {day.day}, {day.year}"
    yield f"{month} {day.day}, {day.year}"
    yield f"{day.day} {month} {day.year}"
    yield f"{weekday[:3]} {month[:3]} {day.day:02d} {day.year}"
    yield f"{weekday[:3]} {month[:3]} {day.day} {day.year}"
    yield f"{month[:3]} {day.day}, {day.year}"
    yield f"{day.month}/{day.day}/{day.year}"
    yield day.strftime("%m/%d/%Y")
