"""Gateway: looking into JSON bodies that may have any shape. Nothing here raises; what is absent is empty."""

import json
from collections.abc import Mapping
from typing import Any

from runbook_runner.core.events import Stop
from runbook_runner.gateway.dialects.base import Json


def document(body: bytes) -> Any:
    """The JSON value; `None` when it is none."""
    try:
        return json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def part(data: Any, key: str) -> Json:
    found = data.get(key) if isinstance(data, dict) else None
    return found if isinstance(found, dict) else {}


def items(data: Any, key: str) -> list[Any]:
    found = data.get(key) if isinstance(data, dict) else None
    return found if isinstance(found, list) else []


def number(data: Any, key: str) -> int:
    """A count of tokens; zero when it is absent or no number. Some servers write `12.0`."""
    found = data.get(key) if isinstance(data, dict) else None
    if type(found) is float and found.is_integer():
        return max(0, int(found))
    return max(0, found) if type(found) is int else 0


def backwards(names: Mapping[str, Stop], ours: Stop) -> str:
    """The first of their names for one of ours."""
    return next(theirs for theirs, stop in names.items() if stop == ours)


def told_cost(usage: Json) -> float | None:
    """USD; OpenRouter names the price of a call."""
    cost = usage.get("cost")
    return float(cost) if isinstance(cost, (int, float)) and not isinstance(cost, bool) else None


def error_message(data: Any) -> str | None:
    """All APIs say `{"error": {"message": …}}`, some gateways before them `{"error": "…"}`."""
    if not isinstance(data, dict) or not data.get("error"):
        return None
    error = data["error"]
    message = error.get("message") if isinstance(error, dict) else error
    return str(message or "error without a message")
