"""Core, formats: JSON and TOML from outside, with the line of what is wrong; and JSON changed so far that it can be
stored."""

import json
import math
import re
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final, TypeVar

from runbook_runner.core.errors import InputError
from runbook_runner.core.text import encodable

Value = TypeVar("Value")

MAX_DEPTH: Final = 100
"""Levels; pydantic stops writing JSON at 255, Python's reader at about a thousand."""
MOST_VALUES: Final = 1_000_000
"""Of one JSON text. Each takes 100 bytes of memory or so, whatever it takes in the file."""
CUT: Final = "(nested too deeply to be kept)"

_LONGEST_NUMBER: Final = 1000
"""Characters. Python's limit is 4300 digits."""
_LONG_KEY: Final = rf"""(?<![\w"'-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){{{MAX_DEPTH}}}"""
"""`a.b.c…` in TOML: each part is one level, and `tomllib` takes quadratic time."""
_SIGN: Final = re.compile(rb""""(?:[^"\\]++|\\.)*+"?|,|[\[{](?!\s*[]}])""", re.DOTALL)
"""A text, or what stands before a value: a comma, or the begin of an array or object that is not empty."""


def has_more_values(text: str | bytes, most: int = MOST_VALUES) -> bool:
    """Whether this JSON, which is not read for it, has more values than that: what is small in a file, or tiny in a
    zip, may be a hundred times as large in memory."""
    if len(text) <= most:
        return False
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if sum(map(raw.count, (b",", b"[", b"{"))) < most:
        return False
    before = (found for found in _SIGN.finditer(raw) if not found[0].startswith(b'"'))
    return next(islice(before, most - 1, None), None) is not None


def require_few_values(text: str | bytes, source: str) -> None:
    """Raises InputError for JSON with more than MOST_VALUES values."""
    if has_more_values(text):
        raise InputError(f"The JSON has more than {MOST_VALUES:,} values.", where=source)


def read_json(
    text: str | bytes,
    source: str,
    *,
    as_written: bool = False,
    unique: bool = False,
    is_bounded: bool = True,
    real: Callable[[str], Any] | None = None,
) -> Any:
    """The value of a whole file. Raises InputError with the line, also for what is nested deeper than MAX_DEPTH.
    as_written: a number that we would spell in another way stays text (`1.10`). unique: a key that is given twice is
    refused. is_bounded: so is what has more than MOST_VALUES values. real: makes a value of a number with a fraction
    or an exponent; `None`: a float."""
    if is_bounded:
        require_few_values(text, source)
    number, pairs = _number if as_written else None, _unique if unique else None
    try:
        value = json.loads(text, parse_float=real or number, parse_int=number, object_pairs_hook=pairs)
    except _RepeatedError as error:
        raise InputError(f"The key {str(error)!r} is given twice.", where=source, hint="Keep one of them.") from error
    except json.JSONDecodeError as error:
        raise InputError(f"The JSON is broken: {error.msg}.", where=f"{source}:{error.lineno}") from error
    except UnicodeDecodeError as error:
        raise InputError("The JSON is not UTF-8 text.", where=source) from error
    except RecursionError as error:
        raise _too_deep(source) from error
    except ValueError as error:
        raise InputError("The JSON holds a number that is too long.", where=source) from error
    return bounded(value, source)


class _RepeatedError(Exception):
    """A key that its object has already."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _RepeatedError(key)
        found[key] = value
    return found


def _number(text: str) -> float | int | str:
    if len(text) > _LONGEST_NUMBER:
        return text
    number: float | int = float(text) if set(text) & set(".eE") else int(text)
    return number if json.dumps(number) == text else text


def read_toml(text: str, source: str) -> dict[str, Any]:
    """As `read_json`."""
    import tomllib  # takes 2 ms to import, which `runbook check` of a project without settings does not pay

    text = text.removeprefix("\ufeff")  # as some editors write one
    if found := re.search(_LONG_KEY, text):
        raise _too_deep(f"{source}:{text.count(chr(10), 0, found.start()) + 1}")
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        where = f"{source}:{line[1] if line else len(text.splitlines())}"
        raise InputError(f"This is not TOML: {str(error).split(' (')[0]}.", where=where) from error
    except RecursionError as error:
        raise _too_deep(source) from error
    except ValueError as error:
        raise InputError("The TOML holds a number that is too long.", where=source) from error
    return bounded(tables, source)


def bounded(value: Value, source: str) -> Value:
    """The same value. Raises InputError when it has more than MAX_DEPTH levels. Without recursion."""
    level: Iterable[Any] = [value]
    for _ in range(MAX_DEPTH):
        containers = [item for item in level if isinstance(item, (dict, list))]
        if not containers:
            return value
        level = [inner for item in containers for inner in (item.values() if isinstance(item, dict) else item)]
    raise _too_deep(source)


def _too_deep(where: str) -> InputError:
    return InputError(f"This is nested deeper than {MAX_DEPTH} levels.", where=where)


def plain_json(value: Any, depth: int = MAX_DEPTH) -> Any:
    """The same value: half a surrogate pair becomes U+FFFD, NaN and infinity `None`, what is below depth levels CUT."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if not isinstance(value, (dict, list, tuple)):
        return value
    if depth == 0:
        return CUT
    if isinstance(value, dict):
        return {encodable(str(key)): plain_json(item, depth - 1) for key, item in value.items()}
    return [plain_json(item, depth - 1) for item in value]
