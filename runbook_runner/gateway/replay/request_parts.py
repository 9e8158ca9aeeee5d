"""Gateway: whose word each part of a request is, in any of the provider APIs; and one walk over a request."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from runbook_runner.gateway.dialects.base import Json
from runbook_runner.gateway.replay.volatile import NOISE_KEYS

Origin = Literal["model", "user", "system", "tools", "tool output", "settings", "model name"]

CONVERSATION_KEYS: Final = frozenset({"messages", "input", "contents"})
_SYSTEM_KEYS: Final = frozenset({"system", "instructions", "systemInstruction", "system_instruction"})
_TOOL_KEYS: Final = frozenset({"tools", "toolConfig", "tool_config", "tool_choice", "functions"})
_MODEL_ROLES: Final = frozenset({"assistant", "model"})
_SYSTEM_ROLES: Final = frozenset({"system", "developer"})
_FRAME: Final = re.compile(r"\s*<([a-z][\w -]*)>.*</\1>\s*", re.DOTALL)


@dataclass(frozen=True)
class Place:
    """One part of a request: a top-level value, or an element of a top-level list."""

    path: str
    group: str
    """The top-level key."""
    origin: Origin
    value: Any


def places(model: str, body: Json) -> Iterator[Place]:
    """The parts of a request, without those that only say who asks. model: as the dialect reads it; one API has it
    in the path."""
    yield Place("model", "model", "model name", model)
    for key, value in body.items():
        if key in NOISE_KEYS or key == "model":
            continue
        if isinstance(value, list):
            yield from (Place(f"{key}[{n}]", key, origin(key, item), item) for n, item in enumerate(value))
        else:
            yield Place(key, key, origin(key, value), value)


def origin(key: str, value: Any) -> Origin:
    """Whose word a top-level part is; tool output may be nested in a user's."""
    if key in CONVERSATION_KEYS:
        return _speaker(value)
    if key in _SYSTEM_KEYS:
        return "system"
    return "tools" if key in _TOOL_KEYS else "settings"


def _speaker(item: Any) -> Origin:
    if not isinstance(item, dict):
        return "user"
    role, kind = item.get("role"), str(item.get("type", ""))
    if is_tool_output(item):
        return "tool output"
    if role in _MODEL_ROLES or kind.endswith("_call") or kind == "reasoning":
        return "model"
    return "system" if role in _SYSTEM_ROLES else "user"


def is_tool_output(item: Any) -> bool:
    """Whether this object carries what a tool gave back."""
    if not isinstance(item, dict):
        return False
    kind = str(item.get("type", ""))
    return kind == "tool_result" or kind.endswith("_output") or item.get("role") == "tool" or "functionResponse" in item


def is_frame(text: str) -> bool:
    """Whether a user's text is the client's own word about where it runs: CLIs wrap that in a tag as a whole."""
    return text.lstrip().startswith("<") and bool(_FRAME.fullmatch(text))
