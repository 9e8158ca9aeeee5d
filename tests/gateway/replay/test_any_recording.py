"""What holds for any recording: it is data, and whatever is in it, it is played or refused, and never ends as a bug."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from runbook_runner.core.errors import InputError
from runbook_runner.core.events import Usage
from runbook_runner.gateway import load_replay
from runbook_runner.gateway.cassette.blobs import blob_path
from runbook_runner.gateway.dialects import DIALECTS, recognise
from runbook_runner.gateway.dialects.base import Dialect, Reply, Tool, ToolCall
from runbook_runner.gateway.replay.index import open_index
from runbook_runner.gateway.script.from_recording import script_from
from runbook_runner.gateway.upstream import ModelRequest, UpstreamBroke

ANTHROPIC = DIALECTS[0]
SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}, "timeout": {"type": "number"}}}
CALL = {"name": "bash", "arguments": '{"command": "ls", "timeout": 9}', "call_id": "1", "id": "1"}
TEXT = "session_id: 7 of 2026-03-04 in /tmp/x"
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "anthropic": (
        "/v1/messages",
        {
            "model": "m",
            "system": [{"type": "text", "text": TEXT}],
            "tools": [{"name": "Bash", "input_schema": SCHEMA}],
            "messages": [
                {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "Bash", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": TEXT}]},
            ],
        },
    ),
    "openai-responses": (
        "/v1/responses",
        {
            "model": "m",
            "instructions": TEXT,
            "tools": [{"type": "function", "name": "bash", "parameters": SCHEMA}],
            "input": [
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": TEXT}]},
                {"type": "function_call", **CALL},
                {"type": "function_call_output", "call_id": "1", "output": TEXT},
            ],
        },
    ),
    "openai-chat": (
        "/v1/chat/completions",
        {
            "model": "m",
            "tools": [{"type": "function", "function": {"name": "bash", "parameters": SCHEMA}}],
            "messages": [
                {"role": "system", "content": TEXT},
                {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": CALL}]},
                {"role": "tool", "tool_call_id": "1", "content": TEXT},
            ],
        },
    ),
    "gemini": (
        "/v1beta/models/m:generateContent",
        {
            "systemInstruction": {"parts": [{"text": TEXT}]},
            "tools": [{"functionDeclarations": [{"name": "bash", "parametersJsonSchema": SCHEMA}]}],
            "contents": [
                {"role": "model", "parts": [{"functionCall": {"name": "bash", "args": {"command": "ls"}}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "bash", "response": {"output": TEXT}}}]},
            ],
        },
    ),
}
TOOL = Tool("bash", SCHEMA)
REPLY = Reply("id", "Hm.", "Look.", (ToolCall("1", TOOL, {"command": "ls", "timeout": 9}),), Usage(api_calls=1))
DAYS = ("2026-03-04T23:59:59.000000Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-03-04")
ODD = [
    *(None, True, 0, -1, 1.5, 1e308, 10**30, float("nan"), "", "x", "\ud800", "9" * 30, "1e999", "tool", "tool_result"),
    *([], {}, [[]], [None], [{}], {"": []}, {"role": {}}, {"$blob": 1}, {"type": []}, [{"text": {}}], TEXT, [TEXT]),
]
odd = st.sampled_from(ODD).map(deepcopy)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each container in a JSON value, with each of its keys or indexes."""
    for key in list(value if isinstance(value, dict) else range(len(value))):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from places(value[key])


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """The value with other values in some places, or with another type."""
    whole = json.loads(json.dumps([value]))
    for _ in range(draw(st.integers(0, 3))):
        found = list(places(whole))
        holder, key = found[draw(st.integers(0, len(found) - 1))]
        holder[key] = draw(odd)
    return whole[0]


@dataclass(frozen=True)
class Call:
    """One recorded call: its line in the index, and its bodies. A response that is text is one as it was streamed."""

    line: Any
    request: Any
    response: Any


def call_of(dialect: Dialect) -> Call:
    path, request = REQUESTS[dialect.name]
    (whole,) = dialect.render(REPLY, dialect.parse_request(path, request))
    line = {"number": 1, "ts": DAYS[0], "dialect": dialect.name, "operation": "generate", "path": path, "model": "m",
            "source": "provider", "status": 200, "seconds": 1.0, "usage": {"prompt_tokens": 7}, "side": False,
            "error": None, "stream": False, "response_headers": {"request-id": "x"}}  # fmt: skip
    return Call(line, request, json.loads(whole))


def events_of(dialect: Dialect) -> list[Any]:
    path, request = REQUESTS[dialect.name]
    path, request = path.replace(":generate", ":streamGenerate"), {**request, "stream": True}
    text = b"".join(dialect.render(REPLY, dialect.parse_request(path, request))).decode()
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]


def stream_of(events: Any) -> str:
    return "".join(f"data: {json.dumps(event)}\n\n" for event in (events if isinstance(events, list) else [events]))


def calls(dialect: Dialect) -> st.SearchStrategy[Call]:
    call = call_of(dialect)
    lines = st.just(call.line) | changed(call.line)  # most changes of a line make it none
    return st.builds(
        Call, lines, changed(call.request), changed(call.response) | changed(events_of(dialect)).map(stream_of)
    )


def write(folder: Path, recorded: Iterable[Call]) -> None:
    lines = []
    for call in recorded:
        line = call.line if isinstance(call.line, dict) else {}
        lines.append({**line, "request": keep(folder, call.request), "response": keep(folder, call.response)})
    (folder / "index.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def keep(folder: Path, body: Any) -> dict[str, str]:
    kind, text = ("text", body) if isinstance(body, str) and body.startswith("data:") else ("json", json.dumps(body))
    path = blob_path(folder / "blobs", hashlib.sha256(text.encode()).hexdigest())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zstandard.compress(text.encode()))
    return {"blob": path.stem, "kind": kind, "content_type": "application/json"}


def asked(dialect: Dialect, **more: Any) -> ModelRequest:
    path, body = REQUESTS[dialect.name]
    body = {**body, **more}
    raw = json.dumps(body).encode()
    found, operation = recognise("POST", path)
    assert (found, operation) == (dialect, "generate")
    return ModelRequest(dialect, "generate", "POST", path, "", (), raw, body, dialect.parse_request(path, body))


async def play(folder: Path, dialect: Dialect, to_local: Callable[[str], str]) -> None:
    replay = load_replay(folder, on_miss="nearest").recorded_with(lambda value: value, to_local, to_local)
    connection = replay.connect()
    for request in (asked(dialect), asked(dialect, temperature=1)):
        async with connection.answer(request) as answer:
            with suppress(UpstreamBroke):
                assert all([isinstance(chunk, bytes) async for chunk in answer.body])


def use(folder: Path, dialect: Dialect, *recorded: Call) -> None:
    """Makes a script of the recording, and plays it in a sandbox like its own and in another. Raises InputError."""
    write(folder, recorded)
    problems = []
    try:
        script_from(open_index(folder))
    except InputError as error:
        problems.append(error)
    for to_local in (str, lambda text: text.replace("/app", "/there")):
        try:
            asyncio.run(play(folder, dialect, to_local))
        except InputError as error:
            problems.append(error)
    if problems:
        raise problems[0]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@given(data=st.data())
def test_any_recording_is_played_and_made_a_script_of_or_refused(dialect: Dialect, data: st.DataObject) -> None:
    recorded = data.draw(st.lists(calls(dialect), min_size=1, max_size=2))
    with TemporaryDirectory() as folder, suppress(InputError):
        use(Path(folder), dialect, *recorded)


@pytest.mark.parametrize("ts", DAYS)
def test_a_call_may_be_of_any_day(tmp_path: Path, ts: str) -> None:
    call = call_of(ANTHROPIC)
    use(tmp_path, ANTHROPIC, replace(call, line={**call.line, "ts": ts}))


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_speaker_may_be_anything(tmp_path: Path, dialect: Dialect) -> None:
    said = [{"role": odd, "type": odd} for odd in ODD]
    use(tmp_path, dialect, replace(call_of(dialect), request={"messages": said, "input": said, "contents": said}))


@pytest.mark.parametrize("odd", [[], "x", 1, None, [{}]])
def test_a_request_is_an_object(tmp_path: Path, odd: Any) -> None:
    with pytest.raises(InputError, match=r"index.jsonl: The request of model call 1 is no JSON object\."):
        use(tmp_path, ANTHROPIC, replace(call_of(ANTHROPIC), request=odd))
