"""Reading Claude Code's stream: what only this CLI's records say."""

import json
from typing import Any

import pytest

from runbook_runner.agents.base import AgentInput
from runbook_runner.agents.built_in.claude_code import Reader, invoke
from runbook_runner.core.events import (
    AgentMessage,
    AgentNotice,
    AgentThinking,
    Event,
    ToolReturned,
)


def read(*records: Any) -> tuple[Reader, list[Event]]:
    reader = Reader()
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    return reader, [event for line in lines for event in reader.feed(line)]


@pytest.mark.parametrize(("model", "asked"), [
    ("gemini-2.5-flash", {"gemini-2.5-flash"}), ("qwen/qwen3-coder", {"qwen/qwen3-coder"}),
    ("claude-sonnet-4-6", set()), ("sonnet", set()), (None, set()),
])  # fmt: skip
def test_subagents_of_a_model_that_is_not_claude_ask_for_it_too(model: str | None, asked: set[str]) -> None:
    env = invoke(AgentInput(mission="", app="/app", model=model)).env
    assert {value for name, value in env.items() if name.startswith("ANTHROPIC_DEFAULT_")} == asked


def test_thinking_and_subagents_are_told_apart() -> None:
    content = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "from below"}]
    _, events = read({"type": "assistant", "message": {"content": content}, "parent_tool_use_id": "toolu_1"})
    assert events == [
        AgentThinking(text="hm", parent_call_id="toolu_1"),
        AgentMessage(text="from below", parent_call_id="toolu_1"),
    ]


def test_a_tool_result_of_several_blocks_is_one_text() -> None:
    content = [{"type": "text", "text": "a"}, {"type": "image", "source": {}}]
    block = {"type": "tool_result", "tool_use_id": "t", "content": content, "is_error": True}
    _, events = read({"type": "user", "message": {"content": [block]}})
    assert events == [ToolReturned(call_id="t", output="a\n[image]", is_error=True)]


def test_half_a_surrogate_pair_does_not_stop_the_recording() -> None:
    _, events = read(r'{"type":"assistant","message":{"content":[{"type":"text","text":"a\ud83d \ud83d\ude00"}]}}')
    assert events == [AgentMessage(text="a\ufffd 😀")]


def test_an_unknown_record_is_kept_raw() -> None:
    _, events = read({"type": "brand_new", "subtype": "x", "value": [1]})
    assert events == [AgentNotice(kind="brand_new/x", payload={"type": "brand_new", "subtype": "x", "value": [1]})]


@pytest.mark.parametrize(("fields", "kind"), [
    ({"api_error_status": 401}, "authentication"),
    ({"api_error_status": 429}, "rate_limit"),
    ({"api_error_status": 529}, "overloaded"),
    ({"api_error_status": 500}, "provider_error"),
    ({"api_error_status": 400}, "request_refused"),
    ({"terminal_reason": "api_error", "api_error_status": None}, "network"),
    ({"subtype": "error_max_turns"}, "error_max_turns"),
])  # fmt: skip
def test_failures_have_a_kind(fields: dict[str, Any], kind: str) -> None:
    reader, _ = read({"type": "result", "subtype": "success", "is_error": True, "result": "why", **fields})
    assert (reader.result(1).error_kind, reader.result(1).error) == (kind, "why")


INIT = {"type": "system", "subtype": "init"}
RESULT = {"type": "result", "subtype": "success", "result": "Waiting."}


def tasks(*ids: str) -> dict[str, Any]:
    return {"type": "system", "subtype": "background_tasks_changed", "tasks": [{"task_id": id_} for id_ in ids]}


def test_the_last_word_is_not_the_end_while_something_runs_in_the_background() -> None:
    """It stays for that, and its model hears of it."""
    waiting, _ = read(INIT, tasks("b1"), RESULT)
    assert (waiting.finished, waiting.waits, waiting.result(None).text) == (False, True, "Waiting.")
    ended, _ = read(INIT, tasks("b1"), RESULT, tasks())
    assert (ended.finished, ended.waits) == (True, False)
    at_work, _ = read(INIT, tasks("b1"), RESULT, tasks(), INIT)
    assert (at_work.finished, at_work.waits) == (False, False)
    done, _ = read(INIT, tasks("b1"), RESULT, tasks(), INIT, {**RESULT, "result": "Done."})
    assert (done.finished, done.waits, done.result(0).text) == (True, False, "Done.")
