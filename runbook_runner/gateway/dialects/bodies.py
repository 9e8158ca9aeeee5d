"""Gateway: reads JSON bodies of any shape. Nothing here raises; what is absent is empty."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from runbook_runner.core.events import Stop
from runbook_runner.core.formats.numbers import amount, count
from runbook_runner.gateway.dialects.base import MAX_MODEL_CHARS, Json, ParsedRequest, Tool, readable

_TEXTS: Final = frozenset({"text", "content", "output", "thinking", "arguments", "refusal", "title", "context", "name"})
"""Keys of a conversation whose strings are only text."""
_OF_TOOLS: Final = frozenset({"input", "args", "response", "arguments", "action"})
"""Keys of what a tool was given or answered: data of any shape, of which no media are taken."""
_ADDRESS: Final = re.compile(
    r"[\x00-\x20]*+(?:h[\t\r\n]*+t[\t\r\n]*+t[\t\r\n]*+p[\t\r\n]*+(?:s[\t\r\n]*+)?:|[a-z][a-z0-9+.-]*+://)",
    re.IGNORECASE,
)
"""As lenient as `urllib.parse`. Others than http are opened with the credentials of a cloud: `gs://bucket/object`."""


CHARS_OF_A_TOKEN: Final = 4
_LONGEST_WORD: Final = 4000
"""Characters; what has more is an image or a document in base64."""
_MEDIA_TOKENS: Final = 1500
"""Of an image that fills what a model looks at."""
_MOST_UNFOLDED: Final = 1 << 18
"""Values."""


def document(body: bytes) -> Any:
    """Returns the JSON value; `None` when the body is not JSON."""
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


def names_address(conversation: Any) -> bool:
    """Whether a part of it, such as an image, is an address that somebody has to fetch."""
    left = [conversation]
    while left:
        part = left.pop()
        if isinstance(part, list):
            left += [item for item in part if isinstance(item, (dict, list))]
        elif isinstance(part, dict):
            left += [item for key, item in part.items() if isinstance(item, (dict, list)) and key not in _OF_TOOLS]
            if any(isinstance(i, str) and _ADDRESS.match(i) for key, i in part.items() if key not in _TEXTS):
                return True
    return False


def unfolds_too_far(schemas: Any) -> bool:
    """Whether the definitions in these JSON schemas are very large once each is written out where a `$ref` names it:
    they double with each level when each names the next one twice."""
    size = 0
    left: list[tuple[Any, Json, frozenset[str]]] = [(schemas, {}, frozenset())]
    while left and size < _MOST_UNFOLDED:
        value, known, inside = left.pop()
        size += 1 + (len(value) >> 6 if isinstance(value, str) else 0)
        if isinstance(value, list):
            left += [(item, known, inside) for item in value]
        elif isinstance(value, dict):
            if new := {
                **part(value, "$defs"),
                **part(value, "definitions"),
                **part(part(value, "components"), "schemas"),
            }:
                known = {**known, **new}
                size += len(known)
            left += [(item, known, inside) for item in value.values()]
            name = str(value.get("$ref")).rpartition("/")[2]
            if name in known and name not in inside:
                left.append((known[name], known, inside | {name}))
                size += len(inside)
    return size >= _MOST_UNFOLDED


def estimated_tokens(body: Any) -> int:
    """Roughly how many tokens a request has."""
    tokens = 0
    left = [body]
    while left:
        value = left.pop()
        if isinstance(value, list):
            left += value
        elif isinstance(value, dict):
            tokens += sum(map(len, value)) // CHARS_OF_A_TOKEN
            left += value.values()
        elif isinstance(value, str):
            is_media = len(value) > _LONGEST_WORD and " " not in value[:_LONGEST_WORD]
            tokens += _MEDIA_TOKENS if is_media else len(value) // CHARS_OF_A_TOKEN
    return tokens


def number(data: Any, key: str) -> int:
    """Returns a count of tokens; zero when it is absent or not a number. Some servers write `12.0`."""
    return count(data.get(key)) if isinstance(data, dict) else 0


def parsed_request(
    body: Json,
    tools: Iterable[Tool],
    identity: Iterable[str],
    conversation: Iterable[Any],
    *,
    stream_usage: bool = True,
) -> ParsedRequest:
    """For the APIs whose model and `stream` are in the body. identity: keys, see `ParsedRequest.identity`."""
    return ParsedRequest(
        model=readable(body.get("model") or "", MAX_MODEL_CHARS),
        stream=body.get("stream") is True,
        tools=tuple(tools),
        identity={key: body.get(key) for key in identity},
        conversation=tuple(conversation),
        stream_usage=stream_usage,
    )


def api_stop(stops: Mapping[str, Stop], stop: Stop) -> str:
    """Returns the API's first name for this stop. stops: the API's names → stops."""
    return next(name for name, known in stops.items() if known == stop)


def reported_cost(usage: Json) -> float | None:
    """Returns the USD that the provider reports, as OpenRouter does; `None` without a price."""
    return amount(usage.get("cost"))


def error_message(data: Any) -> str | None:
    """Returns the error's message; `None` without an error. All APIs have `{"error": {"message": …}}`, some gateways in
    front of them `{"error": "…"}`."""
    if not isinstance(data, dict) or not data.get("error"):
        return None
    error = data["error"]
    message = error.get("message") if isinstance(error, dict) else error
    return str(message or "error without a message")
