"""Gateway: the parts of a request and their origins (user, model, tool …), in any of the provider APIs."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from runbook_runner.gateway.dialects.base import Json
from runbook_runner.gateway.replay.volatile import CALLER_KEYS

Origin = Literal["model", "user", "system", "tools", "tool output", "settings", "model name"]

CONVERSATION_KEYS: Final = frozenset({"messages", "input", "contents"})
_SYSTEM_KEYS: Final = frozenset({"system", "instructions", "systemInstruction", "system_instruction"})
_TOOL_KEYS: Final = frozenset({"tools", "toolConfig", "tool_config", "tool_choice", "functions"})
_MODEL_ROLES: Final = frozenset({"assistant", "model"})
_SYSTEM_ROLES: Final = frozenset({"system", "developer"})
_WRAPPED_IN_TAG: Final = re.compile(r"\s*<([a-z][\w -]*)>.*</\1>\s*", re.DOTALL)


@dataclass(frozen=True)
class RequestPart:
    """One part of a request: a top-level value, or an element of a top-level list."""

    path: str
    group: str
    """The top-level key."""
    origin: Origin
    value: Any


def request_parts(model: str, body: Json) -> Iterator[RequestPart]:
    """Yields the parts of a request, without those that only identify the caller. model: as the dialect parses it,
    since one API has it in the path."""
    yield RequestPart("model", "model", "model name", model)
    for key, value in body.items():
        if key in CALLER_KEYS or key == "model":
            continue
        if isinstance(value, list):
            yield from (RequestPart(f"{key}[{n}]", key, origin(key, item), item) for n, item in enumerate(value))
        else:
            yield RequestPart(key, key, origin(key, value), value)


def origin(key: str, value: Any) -> Origin:
    """Returns the origin of a top-level part; a user's may contain tool output."""
    if key in CONVERSATION_KEYS:
        return _speaker(value)
    if key in _SYSTEM_KEYS:
        return "system"
    return "tools" if key in _TOOL_KEYS else "settings"


def _speaker(item: Any) -> Origin:
    if not isinstance(item, dict):
        return "user"
    role, kind = str(item.get("role")), str(item.get("type", ""))
    if is_tool_output(item):
        return "tool output"
    if role in _MODEL_ROLES or kind.endswith("_call") or kind == "reasoning":
        return "model"
    return "system" if role in _SYSTEM_ROLES else "user"


def is_tool_output(item: Any) -> bool:
    """Whether this object contains the output of a tool."""
    if not isinstance(item, dict):
        return False
    kind = str(item.get("type", ""))
    return kind == "tool_result" or kind.endswith("_output") or item.get("role") == "tool" or "functionResponse" in item


def is_client_context(text: str) -> bool:
    """Whether a user's text was added by the client, about its environment: CLIs wrap all of it in a tag."""
    return text.lstrip().startswith("<") and bool(_WRAPPED_IN_TAG.fullmatch(text))
