"""Gateway: what a recorded answer said, whatever API it came through: words, reasoning and tool calls."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from runbook_runner.gateway.dialects import sse
from runbook_runner.gateway.dialects.base import Json
from runbook_runner.gateway.dialects.bodies import items, part


@dataclass(frozen=True)
class Said:
    text: str | None = None
    thinking: str | None = None
    calls: tuple[tuple[str, Json], ...] = ()
    """Name and input of each tool call."""


@dataclass
class _Notes:
    """What has been said so far."""

    text: str = ""
    thinking: str = ""
    calls: list[tuple[str, Json]] = field(default_factory=list)

    def said(self) -> Said:
        return Said(self.text or None, self.thinking or None, tuple(self.calls))


def said(dialect: str, response: Any) -> Said:
    """dialect: its name. response: a recorded body, parsed JSON or the text of an event stream. What is not understood
    is left out."""
    stream = isinstance(response, str)
    bodies = list(sse.objects(response)) if stream else response if isinstance(response, list) else [response]
    notes = _Notes()
    _READERS[dialect](notes, bodies, stream)
    return notes.said()


# --- Anthropic Messages --------------------------------------------------------------------------------------------


def _anthropic(notes: _Notes, bodies: list[Json], stream: bool) -> None:
    for block in _blocks(bodies) if stream else _all(bodies, "content"):
        kind = block.get("type")
        if kind == "text":
            notes.text += str(block.get("text", ""))
        elif kind == "thinking":
            notes.thinking += str(block.get("thinking", ""))
        elif kind == "tool_use":
            notes.calls.append((str(block.get("name")), _object(block.get("input"))))


def _blocks(events: Iterable[Json]) -> Iterator[Json]:
    """Content blocks, put together from their deltas."""
    blocks: dict[str, Json] = {}
    written: dict[str, str] = {}
    for event in events:
        index = str(event.get("index"))
        if event.get("type") == "content_block_start":
            blocks[index] = dict(part(event, "content_block"))
        elif event.get("type") == "content_block_delta" and index in blocks:
            delta = part(event, "delta")
            for key in ("text", "thinking"):
                if isinstance(delta.get(key), str):
                    blocks[index][key] = str(blocks[index].get(key, "")) + delta[key]
            written[index] = written.get(index, "") + str(delta.get("partial_json", ""))
    for index, block in blocks.items():
        yield {**block, "input": _parsed(written.get(index, ""))} if block.get("type") == "tool_use" else block


# --- OpenAI --------------------------------------------------------------------------------------------------------


def _responses(notes: _Notes, bodies: list[Json], stream: bool) -> None:
    done = [part(event, "item") for event in bodies if _object(event).get("type") == "response.output_item.done"]
    for item in done if stream else _all(bodies, "output"):
        kind = item.get("type")
        if kind == "message":
            notes.text += "".join(str(p.get("text") or p.get("refusal") or "") for p in _objects(item, "content"))
        elif kind == "reasoning":
            notes.thinking += "\n".join(str(piece.get("text", "")) for piece in _objects(item, "summary"))
        elif kind == "function_call":
            notes.calls.append((str(item.get("name")), _parsed(item.get("arguments"))))
        elif kind == "custom_tool_call":
            notes.calls.append((str(item.get("name")), {"input": item.get("input")}))


@dataclass
class _Writing:
    """A tool call of the chat API, which may come in pieces."""

    index: Any
    id: Any
    name: str = ""
    arguments: str = ""
    freeform: bool = False

    def add(self, call: Json) -> None:
        self.freeform = self.freeform or bool(part(call, "custom"))
        told = part(call, "custom") or part(call, "function")
        self.name = self.name or str(told.get("name") or "")
        self.arguments += str(told.get("input") or told.get("arguments") or "")

    def whole(self) -> tuple[str, Json]:
        return self.name, {"input": self.arguments} if self.freeform else _parsed(self.arguments)


def _chat(notes: _Notes, bodies: list[Json], stream: bool) -> None:
    calls: list[_Writing] = []
    for choice in (choice for body in bodies for choice in _objects(body, "choices")[:1]):
        message = part(choice, "delta" if stream else "message")
        notes.text += _text(message, "content", "text") + str(message.get("refusal") or "")
        told = message.get("reasoning_content") or message.get("reasoning")
        notes.thinking += str(told or _text(message, "content", "thinking"))
        for call in _objects(message, "tool_calls"):
            (_begun(calls, call) if stream else _new(calls, call)).add(call)
    notes.calls += [writing.whole() for writing in calls]


def _begun(calls: list[_Writing], call: Json) -> _Writing:
    """The call that this piece belongs to. Some servers number all calls alike, or none; ids tell them apart then."""
    index, id_ = call.get("index"), call.get("id")
    for writing in reversed(calls):
        if (index is None or index == writing.index) and (not id_ or id_ == writing.id):
            return writing
    return _new(calls, call)


def _new(calls: list[_Writing], call: Json) -> _Writing:
    calls.append(_Writing(call.get("index"), call.get("id")))
    return calls[-1]


def _text(message: Json, key: str, kind: str) -> str:
    """A text, or the pieces of this kind, as Mistral has it."""
    value = message.get(key)
    if isinstance(value, str):
        return value if kind == "text" else ""
    pieces = [piece for piece in _objects(message, key) if piece.get("type") == kind]
    return "".join(_text(piece, kind, "text") for piece in pieces)


# --- Gemini --------------------------------------------------------------------------------------------------------


def _gemini(notes: _Notes, bodies: list[Json], stream: bool) -> None:
    for candidate in (candidate for body in bodies for candidate in _objects(body, "candidates")[:1]):
        for piece in _objects(part(candidate, "content"), "parts"):
            call = part(piece, "functionCall")
            if call:
                notes.calls.append((str(call.get("name")), _object(call.get("args"))))
            elif piece.get("thought"):
                notes.thinking += str(piece.get("text", ""))
            else:
                notes.text += str(piece.get("text", ""))


_READERS: Final[Mapping[str, Callable[[_Notes, list[Json], bool], None]]] = {
    "anthropic": _anthropic,
    "openai-responses": _responses,
    "openai-chat": _chat,
    "gemini": _gemini,
}


def _parsed(arguments: Any) -> Json:
    """Arguments are JSON in a string; a broken one is kept as it is."""
    if not isinstance(arguments, str) or not arguments.strip():
        return _object(arguments)
    try:
        return _object(json.loads(arguments))
    except (ValueError, RecursionError):
        return {"input": arguments}


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _objects(data: Any, key: str) -> list[Json]:
    return [item for item in items(data, key) if isinstance(item, dict)]


def _all(bodies: list[Json], key: str) -> list[Json]:
    return [item for body in bodies for item in _objects(body, key)]
