"""Core: JSON from outside, changed so far that it can be stored: UTF-8 can encode it, it is finite and not too deep."""

import math
from typing import Any, Final

from runbook_runner.core.text import encodable

MAX_DEPTH: Final = 100
"""Levels; pydantic stops writing JSON at 255, Python's reader at about a thousand."""
CUT: Final = "(nested too deeply to be kept)"


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
