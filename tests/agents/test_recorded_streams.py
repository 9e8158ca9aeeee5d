"""Reading the streams of Codex, Gemini CLI, opencode and Hermes: recordings of the pinned versions, and what may go
wrong in one."""

import json
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.agents.base import AgentInput, StreamReader
from runbook_runner.agents.registry import find_agent
from runbook_runner.core.events import AgentMessage, AgentNotice, AgentThinking, Event, ToolCalled, ToolReturned

NAMES = ("codex", "gemini-cli", "hermes", "opencode")
NOTHING = AgentInput(mission="", app="/app")


def read(name: str, *records: Any) -> tuple[StreamReader, list[Event]]:
    reader = find_agent(name).reader(NOTHING)
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    return reader, [event for line in lines for event in reader.feed(line)]


def of(kind: type[Event], events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


@pytest.mark.parametrize("name", NAMES)
def test_the_recording_of_the_pinned_version_becomes_messages_and_tool_calls(name: str) -> None:
    stream = Path(__file__).with_name(f"{name}-{find_agent(name).version}.jsonl")
    reader, events = read(name, *stream.read_text().splitlines())
    calls, answers = of(ToolCalled, events), of(ToolReturned, events)
    assert [call.input["command"][:12] for call in calls] == ["head -n 3 /a", "mkdir -p /ap", "ls -l /app/r"]
    assert [answer.call_id for answer in answers] == [call.call_id for call in calls]
    assert not any(answer.is_error for answer in answers)
    said = [message.text for message in of(AgentMessage, events) if message.role == "assistant"]
    assert (len(said), said[0]) == (4, "I'll look at the input first.")
    assert not [notice for notice in of(AgentNotice, events) if notice.kind == "unreadable"]
    assert reader.finished
    result = reader.result(0)
    assert (result.error, result.text) == (None, said[-1])
    assert result.usage is not None
    usage = result.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cache_read_tokens) == (10100, 1075, 6400)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("line", [
    "not json", "[]", "7", "null", '{"type": null}', '{"type": 7}', "", '{"type":"brand/new","x":1}', "{" * 5000,
    '{"type":"item.completed"}', '{"type":"item.completed","item":7}', '{"type":"item.started","item":{"type":"x"}}',
    '{"type":"item.completed","item":{"type":"command_execution","command":7,"exit_code":"x"}}',
    '{"type":"item.completed","item":{"type":"command_execution","command":"a \'b"}}',
    '{"type":"item.completed","item":{"type":"mcp_tool_call","arguments":[1]}}', '{"type":"turn.failed","error":[]}',
    '{"type":"turn.completed","usage":{"input_tokens":"many","output_tokens":-1,"cached_input_tokens":1e400}}',
    '{"type":"message","role":"assistant","content":7}', '{"type":"message"}', '{"type":"tool_use","parameters":[]}',
    '{"type":"tool_result","output":{"a":1}}', '{"type":"result","stats":[],"status":7,"error":"x"}',
    '{"type":"text","part":7}', '{"type":"tool_use","part":{"state":7}}', '{"type":"step_finish","part":{"tokens":[]}}',
    '{"type":"error","error":{"data":7}}', '{"type":"post_api_request","usage":7,"content":[1]}',
    '{"type":"pre_tool_call","args":"x"}', '{"type":"post_tool_call","result":7}',
    '{"type":"api_request_error","error":"x","status_code":"y"}', '{"type":"on_session_end"}',
    r'{"type":"text","part":{"text":"a\ud83d"}}',
])  # fmt: skip
def test_no_line_makes_a_reader_fail(name: str, line: str) -> None:
    reader, events = read(name, line)
    assert all(json.loads(event.model_dump_json()) for event in events)
    assert reader.result(1).error is None or isinstance(reader.result(1).error, str)


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_record_is_kept_raw(name: str) -> None:
    record = {"type": "brand_new", "value": [1]}
    assert read(name, record)[1] == [AgentNotice(kind="brand_new", payload=record)]


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_without_an_end_is_a_crash_with_its_last_line(name: str) -> None:
    result = read(name, "Segmentation fault")[0].result(139)
    assert result.error_kind == "crashed"
    assert "139" in str(result.error)
    assert "Segmentation fault" in str(result.error)


# As the pinned versions said it when a server answered 401, 429 or nothing.
REFUSED: list[tuple[str, list[dict[str, Any]], str, str]] = [
    ("codex", [
        {"type": "error", "message": "Reconnecting... 1/5 (unexpected status 401 Unauthorized: no, url: http://g/v1)"},
        {"type": "turn.failed", "error": {"message": "unexpected status 401 Unauthorized: no, url: http://g/v1"}},
    ], "authentication", "unexpected status 401 Unauthorized: no, url: http://g/v1"),
    ("codex", [
        {"type": "turn.failed", "error": {"message": "exceeded retry limit, last status: 429 Too Many Requests"}},
    ], "rate_limit", "exceeded retry limit, last status: 429 Too Many Requests"),
    ("gemini-cli", [
        {"type": "result", "status": "error", "error": {"type": "unknown", "message":
            '[API Error: {"error":{"code":401,"message":"no","status":"UNAUTHENTICATED"}}]'}, "stats": {}},
    ], "authentication", "no"),
    ("opencode", [
        {"type": "error", "error": {"name": "APIError", "data": {"message": "no", "statusCode": 401}}},
    ], "authentication", "no"),
    ("hermes", [
        {"type": "api_request_error", "session_id": "s", "status_code": 429, "error": {"message": "HTTP 429: no"}},
    ], "rate_limit", "HTTP 429: no"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "records", "kind", "error"), REFUSED)
def test_a_refusal_of_the_provider_is_told_with_its_kind(
    name: str, records: list[dict[str, Any]], kind: str, error: str
) -> None:
    result = read(name, *records)[0].result(1)
    assert (result.error_kind, result.error) == (kind, error)


def test_a_later_answer_takes_back_an_error_of_hermes() -> None:
    failed = {"type": "api_request_error", "session_id": "s", "status_code": 429, "error": {"message": "HTTP 429"}}
    answered = {"type": "post_api_request", "session_id": "s", "content": "Done.", "usage": {"input_tokens": 3}}
    ended = {"type": "on_session_end", "session_id": "s", "completed": True}
    result = read("hermes", failed, answered, ended, "Done.")[0].result(0)
    assert (result.error, result.text) == (None, "Done.")


def test_what_a_subagent_of_hermes_does_belongs_to_the_call_that_started_it() -> None:
    _, events = read(
        "hermes",
        {"type": "on_session_start", "session_id": "main"},
        {"type": "pre_tool_call", "session_id": "main", "tool_call_id": "c1", "tool_name": "delegate_task", "args": {}},
        {"type": "pre_tool_call", "session_id": "sub", "tool_call_id": "c2", "tool_name": "terminal", "args": {}},
    )
    assert [call.parent_call_id for call in of(ToolCalled, events)] == [None, "c1"]


def test_pieces_of_a_message_of_gemini_are_one_message() -> None:
    piece = {"type": "message", "role": "assistant", "delta": True}
    _, events = read("gemini-cli", {**piece, "content": "a"}, {**piece, "content": "b"}, {"type": "result"})
    assert of(AgentMessage, events) == [AgentMessage(text="ab")]


def test_a_command_of_codex_is_told_as_the_model_wrote_it() -> None:
    item = {"id": "i", "type": "command_execution", "command": "/bin/bash -lc 'ls \"a b\"'", "aggregated_output": "x\n"}
    done = {**item, "exit_code": 2, "status": "failed"}
    _, events = read("codex", {"type": "item.started", "item": item}, {"type": "item.completed", "item": done})
    assert events == [
        ToolCalled(call_id="i", name="shell", input={"command": 'ls "a b"'}),
        ToolReturned(call_id="i", output="x\n", is_error=True, exit_code=2),
    ]


def test_reasoning_is_told_apart_from_messages() -> None:
    item = {"type": "item.completed", "item": {"id": "i", "type": "reasoning", "text": "hm"}}
    assert read("codex", item)[1] == [AgentThinking(text="hm")]
    assert read("opencode", {"type": "reasoning", "part": {"text": "hm"}})[1] == [AgentThinking(text="hm")]
    said = {"type": "post_api_request", "session_id": "s", "reasoning": "hm", "content": None}
    assert read("hermes", said)[1] == [AgentThinking(text="hm")]
