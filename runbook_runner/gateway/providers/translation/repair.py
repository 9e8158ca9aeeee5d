"""Gateway: puts right, between litellm and a provider, what one of them writes and the other does not take."""

import json
from dataclasses import dataclass
from typing import Any

from runbook_runner.gateway.dialects.base import Json
from runbook_runner.gateway.dialects.bodies import items, part


def repair_request(dialect: str, body: bytes) -> bytes:
    """dialect: the provider's. Chat servers get neither Anthropic's blocks of thinking, with their signatures, nor
    positions of calls."""
    if dialect != "openai-chat" or not (b'"thinking_blocks"' in body or b'"index"' in body):
        return body
    request = json.loads(body)
    for message in filter(_is_object, items(request, "messages")):
        message.pop("thinking_blocks", None)
        for call in filter(_is_object, items(message, "tool_calls")):
            call.pop("index", None)
    return json.dumps(request).encode()


class AnswerRepair:
    """Of one answer, whole or event by event."""

    def __init__(self, dialect: str):
        self._repair = {"gemini": _complete, "openai-chat": self._tell_calls_apart}.get(dialect)
        self._calls: list[_ChatCall] = []

    def changes(self, data: Any) -> bool:
        """Repairs an event or a document, in place. Returns whether it was changed."""
        return self._repair is not None and self._repair(data)

    def _tell_calls_apart(self, data: Any) -> bool:
        """Some servers give all calls the same index, or none, and the same id, or none: each gets its own. A call
        whose arguments come before its name is held until then."""
        changed = False
        for choice in items(data, "choices")[:1]:
            for message in (part(choice, "delta"), part(choice, "message")):
                if pieces := [piece for piece in items(message, "tool_calls") if isinstance(piece, dict)]:
                    message["tool_calls"] = [piece for piece in pieces if self._takes(piece)]
                    changed = True
        return changed

    def _takes(self, piece: Json) -> bool:
        call = self._call(piece)
        piece["index"] = call.number
        if call.is_new or piece.get("id"):
            piece["id"] = call.own_id
        if call.is_new and call.name and "function" in piece:
            piece["function"]["arguments"] = call.arguments
        call.is_new = call.is_new and not call.name
        return bool(call.name)

    def _call(self, piece: Json) -> "_ChatCall":
        begun = next((call for call in reversed(self._calls) if call.goes_on_with(piece)), None)
        if begun is None:
            begun = _ChatCall(len(self._calls), piece.get("index"), piece.get("id") or "")
            begun.own_id = begun.id if begun.id and begun.id not in self._ids() else f"{begun.id}_{begun.number}"
            self._calls.append(begun)
        said = part(piece, "function") or part(piece, "custom")
        begun.name = begun.name or str(said.get("name") or "")
        begun.arguments += str(said.get("arguments") or "")
        return begun

    def _ids(self) -> set[str]:
        return {call.own_id for call in self._calls}


@dataclass
class _ChatCall:
    number: int
    index: Any
    """As the server counts."""
    id: str
    own_id: str = ""
    name: str = ""
    arguments: str = ""
    is_new: bool = True

    def goes_on_with(self, piece: Json) -> bool:
        index, id_ = piece.get("index"), piece.get("id")
        if (index is not None and index != self.index) or (id_ and id_ != self.id):
            return False
        return not (part(piece, "function").get("name") and self.name and _is_whole(self.arguments))


def _is_whole(arguments: str) -> bool:
    try:
        return isinstance(json.loads(arguments), dict)
    except (ValueError, RecursionError):
        return False


def _complete(data: Any) -> bool:
    """Google leaves out the arguments of a call that has none; servers that imitate it, what was used."""
    found = [candidate for candidate in items(data, "candidates") if isinstance(candidate, dict)]
    parts = (piece for candidate in found for piece in items(part(candidate, "content"), "parts"))
    calls = [piece["functionCall"] for piece in parts if part(piece, "functionCall")]
    without = [call for call in calls if not isinstance(call.get("args"), dict)]
    for call in without:
        call["args"] = {}
    uncounted = bool(found) and not part(data, "usageMetadata")
    if uncounted:
        data["usageMetadata"] = {}
    return bool(without) or uncounted


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)
