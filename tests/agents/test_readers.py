"""Reading the streams of Codex, Gemini CLI, opencode and Hermes: what only these CLIs' records say."""

import json
from typing import Any

import pytest

from runbook_runner.agents.base import AgentInput, StreamReader
from runbook_runner.agents.registry import find_agent
from runbook_runner.core.events import AgentMessage, AgentThinking, Event, ToolCalled, ToolReturned

NOTHING = AgentInput(mission="", app="/app")


def read(name: str, *records: Any) -> tuple[StreamReader, list[Event]]:
    reader = find_agent(name).reader(NOTHING)
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    return reader, [event for line in lines for event in reader.feed(line)]


def of(kind: type[Event], events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


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


def test_the_pieces_of_a_message_are_not_logged() -> None:
    """Where a message is streamed, a secret may be in two of them."""
    agent = find_agent("gemini-cli")
    pieces = [{"type": "message", "role": "assistant", "content": text, "delta": True} for text in ("my se", "cret")]
    assert [agent.logged(json.dumps(piece)) for piece in pieces] == ["", ""]
    assert [agent.logged(line) for line in ('{"type": "result"}', "not JSON")] == ['{"type": "result"}\n', "not JSON\n"]
    _, events = read("gemini-cli", *pieces, {"type": "result", "status": "success"})
    assert [event.text for event in of(AgentMessage, events)] == ["my secret"]
