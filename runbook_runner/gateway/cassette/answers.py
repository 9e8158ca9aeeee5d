"""Gateway: reads what a recorded answer contains, in whatever API: text, reasoning and tool calls."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from runbook_runner.core.formats.json_toml import plain_json
from runbook_runner.gateway.dialects import sse
from runbook_runner.gateway.dialects.base import Json
from runbook_runner.gateway.dialects.bodies import items, part

ToolCall = tuple[str, Json]
"""Name and input."""
_Piece = tuple[Literal["text", "thinking"], str] | tuple[Literal["call"], ToolCall]


@dataclass(frozen=True)
class RecordedAnswer:
    text: str | None = None
    thinking: str | None = None
    calls: tuple[ToolCall, ...] = ()


def read_answer(dialect: str, response: Any) -> RecordedAnswer:
    """dialect: its name. response: a recorded body, parsed JSON or the text of an event stream. What is not understood
    is left out."""
    stream = isinstance(response, str)
    bodies = list(sse.objects(response)) if stream else response if isinstance(response, list) else [response]
    bodies = plain_json(bodies)
    texts: dict[str, str] = {"text": "", "thinking": ""}
    calls: list[ToolCall] = []
    for piece in _READERS[dialect](bodies, stream):
        if piece[0] == "call":
            calls.append(piece[1])
        else:
            texts[piece[0]] += piece[1]
    return RecordedAnswer(texts["text"] or None, texts["thinking"] or None, tuple(calls))


# --- Anthropic Messages --------------------------------------------------------------------------------------------


def _anthropic(bodies: list[Json], stream: bool) -> Iterator[_Piece]:
    for block in _blocks(bodies) if stream else _all(bodies, "content"):
        kind = block.get("type")
        if kind == "text":
            yield "text", str(block.get("text", ""))
        elif kind == "thinking":
            yield "thinking", str(block.get("thinking", ""))
        elif kind == "tool_use":
            yield "call", (str(block.get("name")), _object(block.get("input")))


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


def _responses(bodies: list[Json], stream: bool) -> Iterator[_Piece]:
    done = [part(event, "item") for event in bodies if _object(event).get("type") == "response.output_item.done"]
    for item in done if stream else _all(bodies, "output"):
        kind, name = item.get("type"), str(item.get("name"))
        if kind == "message":
            yield "text", "".join(str(p.get("text") or p.get("refusal") or "") for p in _objects(item, "content"))
        elif kind == "reasoning":
            yield "thinking", "\n".join(str(piece.get("text", "")) for piece in _objects(item, "summary"))
        elif kind == "function_call":
            yield "call", (name, _parsed(item.get("arguments")))
        elif kind == "custom_tool_call":
            yield "call", (name, {"input": item.get("input")})


@dataclass
class _ChatCall:
    """A tool call of chat completions, which may come in pieces."""

    index: Any
    id: Any
    name: str = ""
    arguments: str = ""
    freeform: bool = False

    def add(self, call: Json) -> None:
        self.freeform = self.freeform or bool(part(call, "custom"))
        piece = part(call, "custom") or part(call, "function")
        self.name = self.name or str(piece.get("name") or "")
        self.arguments += str(piece.get("input") or piece.get("arguments") or "")

    def complete(self) -> ToolCall:
        return self.name, {"input": self.arguments} if self.freeform else _parsed(self.arguments)


def _chat(bodies: list[Json], stream: bool) -> Iterator[_Piece]:
    calls: list[_ChatCall] = []
    for choice in (choice for body in bodies for choice in _objects(body, "choices")[:1]):
        message = part(choice, "delta" if stream else "message")
        yield "text", _text(message, "content", "text") + str(message.get("refusal") or "")
        reasoning = message.get("reasoning_content") or message.get("reasoning")
        yield "thinking", str(reasoning or _text(message, "content", "thinking"))
        for call in _objects(message, "tool_calls"):
            (_begun(calls, call) if stream else _new(calls, call)).add(call)
    yield from (("call", begun.complete()) for begun in calls)


def _begun(calls: list[_ChatCall], call: Json) -> _ChatCall:
    """Returns the call that this piece belongs to. Some servers give all calls the same index, or none; then ids tell
    them apart."""
    index, id_ = call.get("index"), call.get("id")
    for begun in reversed(calls):
        if (index is None or index == begun.index) and (not id_ or id_ == begun.id):
            return begun
    return _new(calls, call)


def _new(calls: list[_ChatCall], call: Json) -> _ChatCall:
    calls.append(_ChatCall(call.get("index"), call.get("id")))
    return calls[-1]


def _text(message: Json, key: str, kind: str) -> str:
    """Returns a text, or the joined pieces of this kind, as Mistral sends them."""
    value = message.get(key)
    if isinstance(value, str):
        return value if kind == "text" else ""
    pieces = [piece for piece in _objects(message, key) if piece.get("type") == kind]
    return "".join(_text(piece, kind, "text") for piece in pieces)


# --- Gemini --------------------------------------------------------------------------------------------------------


def _gemini(bodies: list[Json], stream: bool) -> Iterator[_Piece]:
    for candidate in (candidate for body in bodies for candidate in _objects(body, "candidates")[:1]):
        for piece in _objects(part(candidate, "content"), "parts"):
            call = part(piece, "functionCall")
            if call:
                yield "call", (str(call.get("name")), _object(call.get("args")))
            else:
                yield "thinking" if piece.get("thought") else "text", str(piece.get("text", ""))


_READERS: Final[Mapping[str, Callable[[list[Json], bool], Iterator[_Piece]]]] = {
    "anthropic": _anthropic,
    "openai-responses": _responses,
    "openai-chat": _chat,
    "gemini": _gemini,
}


def _parsed(arguments: Any) -> Json:
    """Returns arguments, which are JSON in a string; broken JSON is kept as text."""
    if not isinstance(arguments, str) or not arguments.strip():
        return _object(arguments)
    try:
        return _object(plain_json(json.loads(arguments)))
    except (ValueError, RecursionError):
        return {"input": arguments}


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _objects(data: Any, key: str) -> list[Json]:
    return [item for item in items(data, key) if isinstance(item, dict)]


def _all(bodies: list[Json], key: str) -> list[Json]:
    return [item for body in bodies for item in _objects(body, key)]
