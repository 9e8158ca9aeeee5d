"""Gateway: what a recorded answer said, whatever API it came through: words, reasoning and tool calls."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from runbook_runner.gateway import sse
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
    events = list(sse.objects(response)) if isinstance(response, str) else None
    notes = _Notes()
    _READERS[dialect](notes, events if events is not None else [response], events is not None)
    return notes.said()


# --- Anthropic Messages --------------------------------------------------------------------------------------------


def _anthropic(notes: _Notes, bodies: list[Json], stream: bool) -> None:
    for block in _blocks(bodies) if stream else items(bodies[0], "content"):
        kind = block.get("type")
        if kind == "text":
            notes.text += str(block.get("text", ""))
        elif kind == "thinking":
            notes.thinking += str(block.get("thinking", ""))
        elif kind == "tool_use":
            notes.calls.append((str(block.get("name")), _object(block.get("input"))))


def _blocks(events: Iterable[Json]) -> Iterator[Json]:
    """Content blocks, put together from their deltas."""
    blocks: dict[int, Json] = {}
    written: dict[int, str] = {}
    for event in events:
        index = int(event.get("index", 0))
        if event.get("type") == "content_block_start":
            blocks[index] = dict(part(event, "content_block"))
        elif event.get("type") == "content_block_delta" and index in blocks:
            delta = part(event, "delta")
            for key in ("text", "thinking"):
                if isinstance(delta.get(key), str):
                    blocks[index][key] = str(blocks[index].get(key, "")) + delta[key]
            written[index] = written.get(index, "") + str(delta.get("partial_json", ""))
    for index, block in sorted(blocks.items()):
        yield {**block, "input": _parsed(written.get(index, ""))} if block.get("type") == "tool_use" else block


# --- OpenAI --------------------------------------------------------------------------------------------------------


def _responses(notes: _Notes, bodies: list[Json], stream: bool) -> None:
    done = [part(event, "item") for event in bodies if event.get("type") == "response.output_item.done"]
    for item in done if stream else items(bodies[0], "output"):
        kind = item.get("type")
        if kind == "message":
            notes.text += "".join(str(piece.get("text", "")) for piece in items(item, "content"))
        elif kind == "reasoning":
            notes.thinking += "\n".join(str(piece.get("text", "")) for piece in items(item, "summary"))
        elif kind == "function_call":
            notes.calls.append((str(item.get("name")), _parsed(item.get("arguments"))))
        elif kind == "custom_tool_call":
            notes.calls.append((str(item.get("name")), {"input": item.get("input")}))


def _chat(notes: _Notes, bodies: list[Json], stream: bool) -> None:
    calls: dict[int, list[str]] = {}
    for choice in (choice for body in bodies for choice in items(body, "choices")[:1]):
        message = part(choice, "delta" if stream else "message")
        notes.text += str(message.get("content") or "")
        notes.thinking += str(message.get("reasoning_content") or message.get("reasoning") or "")
        for place, call in enumerate(items(message, "tool_calls")):
            function = part(call, "function")
            pieces = calls.setdefault(int(call.get("index", place)), ["", ""])
            pieces[0] += str(function.get("name") or "")
            pieces[1] += str(function.get("arguments") or "")
    notes.calls += [(name, _parsed(arguments)) for _, (name, arguments) in sorted(calls.items())]


# --- Gemini --------------------------------------------------------------------------------------------------------


def _gemini(notes: _Notes, bodies: list[Json], stream: bool) -> None:
    for candidate in (candidate for body in bodies for candidate in items(body, "candidates")[:1]):
        for piece in items(part(candidate, "content"), "parts"):
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
    except ValueError:
        return {"input": arguments}


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}
