"""Gateway: reading server-sent events, as all provider APIs stream them."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from runbook_runner.gateway.dialects.base import Delta, Json


def event(name: str, data: Json) -> bytes:
    return f"event: {name}\n{_line(data)}\n\n".encode()


def objects(text: str) -> Iterator[Json]:
    """The JSON objects of the `data:` lines, in order. Pings without data, `[DONE]` and torn lines are left out."""
    for line in text.split("\n"):  # splitlines() would also split at characters that JSON has unescaped
        found = _object(line)
        if found is not None:
            yield found


def scrub(text: str, delta: Callable[[Json], Delta | None], clean: Callable[[str], str]) -> str:
    """The stream without secrets, also without those that the model wrote in pieces.

    Every event is cleaned by itself; then the pieces of each text are joined, and where the joined text holds a
    secret its cleaned form goes to the first piece and the others become empty. Other lines stay as they are.
    """
    lines = clean(text).split("\n")
    events = {number: found for number, line in enumerate(lines) if (found := _object(line)) is not None}
    for pieces in _texts(events, delta).values():
        joined = "".join(str(piece.holder[piece.key]) for _, piece in pieces)
        cleaned = clean(joined)
        if cleaned == joined:
            continue
        for number, piece in pieces:
            piece.holder[piece.key], cleaned = cleaned, ""
            lines[number] = _line(events[number])
    return "\n".join(lines)


def _texts(events: dict[int, Json], delta: Callable[[Json], Delta | None]) -> dict[str, list[tuple[int, Delta]]]:
    texts: dict[str, list[tuple[int, Delta]]] = defaultdict(list)
    for number, data in events.items():
        piece = delta(data)
        if piece is not None:
            texts[piece.channel].append((number, piece))
    return texts


def _line(data: Json) -> str:
    """ASCII only: JSON allows lone surrogates, UTF-8 does not."""
    return "data: " + json.dumps(data, separators=(",", ":"))


def _object(line: str) -> Json | None:
    if not line.startswith("data:"):
        return None
    try:
        data: Any = json.loads(line[5:])
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None
