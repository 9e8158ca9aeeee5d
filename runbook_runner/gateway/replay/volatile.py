"""Gateway: what is volatile in a request, which means that it differs between two runs of the same thing; removes it.

A replay compares requests. Session ids, the day, random folders and the gateway's own address change from run to run
without a meaning; each is replaced by a word for its kind before two texts are compared.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final


@dataclass(frozen=True)
class Normalise:
    """Removes what is volatile."""

    text: Callable[[str], str]
    output: Callable[[str], str] = str
    """The same, of what tools printed. The lines stay as many as they were."""


AS_IS: Final = Normalise(str)

CALLER_KEYS: Final = frozenset({"metadata", "prompt_cache_key", "client_metadata", "safety_identifier", "user"})
"""Top-level fields of a request that identify the caller."""

ID_KEYS: Final = frozenset({"id", "tool_use_id", "tool_call_id", "call_id", "item_id", "response_id"})
"""Keys whose string value only connects a tool's output with its call."""

_UUID = r"(?<![0-9a-fA-F-])[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}(?![0-9a-fA-F-])"
_TEMP = r"(?<![\w.])(/private)?/(tmp|var/tmp|var/folders/\w+/\w+/T)/[^\s/\"'`<>()\[\]{},;:]+"
_PRIVATE = r"(?:10|127)(?:\.\d{1,3}){3}|(?:169\.254|172\.(?:1[6-9]|2\d|3[01])|192\.168)(?:\.\d{1,3}){2}"
_ADDRESS = rf"(https?://)(?:{_PRIVATE}|localhost|host\.docker\.internal|\[::1\]):\d{{2,5}}"
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


def _any(names: Iterable[str]) -> str:
    return f"(?:{'|'.join(names)})"


_MONTH, _MON, _SUN = _any(_MONTHS), _any(month[:3] for month in _MONTHS), _any(day[:3] for day in _WEEKDAYS)
_DATE: Final = re.compile(
    rf"(?<!\d)(?P<weekday>{_any(_WEEKDAYS)}, )?(?P<day>\d{{4}}(?:-\d\d-|/\d\d/)\d\d"
    rf"|\d{{1,2}}(?:/\d{{1,2}}/| {_MONTH} )\d{{4}}|(?:{_MONTH}|{_MON}) \d{{1,2}}, \d{{4}}"
    rf"|{_SUN} {_MON} \d{{1,2}} \d{{4}}){_CLOCK}(?!\d)"
)
"""Any date in the forms of `_forms`: one pattern for all days, as a recording may be of thousands."""
_FEW: Final = 3  # years that are looked for first, which is quicker


def normaliser(days: Iterable[date], volatile_output: Iterable[str] = ()) -> Normalise:
    """days: the dates of the cassette and of this run. Only they and the days before and after are volatile: any other
    date in a request is data. volatile_output: see `Agent`."""
    first, last = date.min.toordinal(), date.max.toordinal()
    beside = {day.toordinal() + n for day in days for n in (-1, 0, 1)}
    around = {date.fromordinal(day) for day in beside if first <= day <= last}
    forms = {form for day in around for form in _forms(day)}
    years = {f"{day.year:04}" for day in around}

    def today(found: re.Match[str]) -> str:
        weekday, day = found["weekday"] or "", found["day"]
        if weekday + day in forms:
            return "<today>"
        return f"{weekday}<today>" if day in forms else found[0]

    def normalise(text: str) -> str:
        for pattern, word in _REPLACED:
            text = pattern.sub(word, text)
        if len(years) > _FEW or any(year in text for year in years):
            text = _DATE.sub(today, text)
        return text

    patterns = [re.compile(pattern, re.MULTILINE) for pattern in volatile_output]

    def normalise_output(text: str) -> str:
        for pattern in patterns:
            text = pattern.sub(_without_groups, text)
        return text

    return Normalise(normalise, normalise_output)


def _without_groups(found: re.Match[str]) -> str:
    """The match with a word in the place of each group."""
    kept, end = list[str](), found.start()
    for start, stop in found.regs[1:]:
        if start >= 0:
            kept += [found.string[end:start], "<random>"]
            end = stop
    return "".join((*kept, found.string[end : found.end()]))


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
