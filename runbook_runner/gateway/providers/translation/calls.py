"""Gateway: numbers the tool calls of translated conversations. What is an id in one API is too long, empty, missing, or
there twice in another.

In a history that goes to the provider, the n-th call has the number n, whatever the agent calls it, so that the same
question is asked in the same words. In an answer, each call has an id that no other call of the session had.
"""

import json
from collections import defaultdict, deque
from itertools import count
from typing import Any, Final

from runbook_runner.gateway.dialects.base import Json
from runbook_runner.gateway.dialects.bodies import part

_SIGNED: Final = "__thought__"
"""In ids that litellm makes: behind it is Gemini's signature, which the call has to keep."""
_EXTRA: Final = "provider_specific_fields"
"""Where litellm has the signature of a call in Anthropic's API."""
_CONVERSATIONS: Final = ("messages", "input", "contents")
_WITH_CALLS: Final = (b"tool_use", b"tool_calls", b"call_id", b"item_id", b"functionCall")
_OF_TOOLS: Final = frozenset({"input", "args", "arguments"})


def _id(number: int) -> str:
    """Nine letters and digits, which each API takes; Mistral's takes nothing else."""
    return f"call{number:05}"


class CallIds:
    """One session's."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._signatures: dict[str, str] = {}
        """Id that the agent was given → the signature of the call."""

    def number_history(self, body: Json) -> Json:
        """Returns the request with the calls of its history, and their results, numbered."""
        numbered = _History(self._signatures).numbered
        return {key: numbered(value) if key in _CONVERSATIONS else value for key, value in body.items()}

    def new(self, given: object) -> str:
        """Returns an id for a call in an answer. given: litellm's."""
        own = _id(next(self._numbers))
        _, signed, signature = str(given).partition(_SIGNED)
        if signed:
            self._signatures[own] = signed + signature
        return own


class _History:
    """One request's, in any API."""

    def __init__(self, signatures: dict[str, str]):
        self._signatures = signatures
        self._numbers = count(1)
        self._open: dict[str, deque[str]] = defaultdict(deque)
        """Id that the agent uses → those of its calls whose results have not come."""
        self._closed: dict[str, str] = {}
        """Id that the agent uses → the last of its calls whose result has come."""

    def numbered(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.numbered(item) for item in value]
        if not isinstance(value, dict):
            return value
        kind, own = value.get("type"), dict(value)
        if kind == "tool_use":
            own["id"], _, signature = self._call(value.get("id")).partition(_SIGNED)
            own |= {_EXTRA: {"signature": signature}} if signature else {}
        elif kind == "tool_result":
            own["tool_use_id"] = self._result(value.get("tool_use_id"))
        elif "call_id" in value:
            is_result = str(kind).endswith("_output")
            own["call_id"] = self._result(value["call_id"]) if is_result else self._call(value["call_id"])
            own.pop("id", None)
        elif value.get("role") == "tool":
            own["tool_call_id"] = self._result(value.get("tool_call_id"))
        elif part(value, "functionCall"):
            call = value["functionCall"]
            own["functionCall"] = {**call, "id": self._call(call.get("id") or call.get("name"))}
        elif part(value, "functionResponse"):
            result = value["functionResponse"]
            own["functionResponse"] = {**result, "id": self._result(result.get("id"), result.get("name"))}
        if isinstance(value.get("tool_calls"), list):
            own["tool_calls"] = [
                {**call, "id": self._call(call.get("id"))} if isinstance(call, dict) else call
                for call in value["tool_calls"]
            ]
        for key in ("content", "parts"):
            if key in value and kind != "tool_result":
                own[key] = self.numbered(value[key])
        return own

    def _call(self, given: object) -> str:
        own = _id(next(self._numbers)) + self._signatures.get(str(given), "")
        self._open[str(given)].append(own)
        return own

    def _result(self, *given: object) -> str:
        """given: by which names the agent may mean the call."""
        name = next((str(name) for name in given if self._open[str(name)]), str(given[0]))
        if self._open[name]:
            self._closed[name] = self._open[name].popleft()
        elif name not in self._closed:  # the agent has forgotten the call
            self._closed[name] = _id(next(self._numbers))
        return self._closed[name]


class AnswerIds:
    """One answer's, whole or event by event."""

    def __init__(self, session: CallIds):
        self._session = session
        self._own: dict[str, str] = {}
        """litellm's id of a call, or of the item that it is in → the session's."""

    def numbered(self, body: bytes) -> bytes:
        """body: events, or a document."""
        if not any(word in body for word in _WITH_CALLS):
            return body
        if body.startswith(b"{"):
            return self._rewritten(body)
        return b"\n".join(map(self._line, body.split(b"\n")))

    def _line(self, line: bytes) -> bytes:
        data = line[5:].lstrip()
        return b"data: " + self._rewritten(data) if line.startswith(b"data:") and data.startswith(b"{") else line

    def _rewritten(self, document: bytes) -> bytes:
        data = json.loads(document)
        self._number(data)
        return json.dumps(data).encode()

    def _number(self, value: Any) -> None:
        if isinstance(value, dict):
            self._number_one(value)
            left = [item for key, item in value.items() if key not in _OF_TOOLS]
        else:
            left = value if isinstance(value, list) else []
        for item in left:
            self._number(item)

    def _number_one(self, value: Json) -> None:
        if value.get("type") == "tool_use":
            signature = part(value, _EXTRA).get("signature") or ""
            value["id"] = self._session.new(f"{_SIGNED}{signature}" if signature else value.get("id"))
            value.pop(_EXTRA, None)
        elif part(value, "functionCall"):
            value["functionCall"]["id"] = self._session.new(value["functionCall"].get("id"))
        elif "call_id" in value:
            value["call_id"] = own = self._of(value["call_id"])
            self._own[str(value.get("id"))] = value["id"] = f"fc_{own}"
        elif "item_id" in value:
            value["item_id"] = self._own.get(str(value["item_id"]), value["item_id"])
        for call in value["tool_calls"] if isinstance(value.get("tool_calls"), list) else ():
            if isinstance(call, dict) and call.get("id"):
                call["id"] = self._of(call["id"])

    def _of(self, given: object) -> str:
        name = str(given)
        if name not in self._own:
            self._own[name] = self._session.new(given)
        return self._own[name]
