"""Agents: one line of a CLI's JSON stream, made safe to record."""

import json
from typing import Any


def parse_record(line: str) -> dict[str, Any] | None:
    """The object on the line; `None` when there is none. Half a surrogate pair, which JSON can spell and UTF-8 can't
    write, becomes U+FFFD."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    return {str(_mended(key)): _mended(value) for key, value in record.items()} if "\\u" in line else record


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {str(_mended(key)): _mended(item) for key, item in value.items()}
    return value
