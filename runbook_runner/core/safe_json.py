"""JSON from others, made such that it can be kept: what UTF-8 can't write, JSON can't spell or nobody can walk goes."""

import math
from typing import Any, Final

MAX_DEPTH: Final = 100
"""Levels; what writes JSON gives up at 255, and what reads it at about a thousand."""
CUT: Final = "(nested too deeply to be kept)"


def plain_json(value: Any, depth: int = MAX_DEPTH) -> Any:
    """The same value: half a surrogate pair becomes U+FFFD, NaN and infinity `None`, what is below depth levels CUT."""
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if not isinstance(value, (dict, list, tuple)):
        return value
    if depth == 0:
        return CUT
    if isinstance(value, dict):
        return {plain_text(str(key)): plain_json(item, depth - 1) for key, item in value.items()}
    return [plain_json(item, depth - 1) for item in value]


def plain_text(text: str) -> str:
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
