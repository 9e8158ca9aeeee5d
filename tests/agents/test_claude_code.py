"""Reading Claude Code's stream: the recorded output of the pinned version, and what may go wrong in one."""

import json
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.agents.base import AgentInput
from runbook_runner.agents.claude_code import VERSION, Reader
from runbook_runner.agents.registry import find_agent
from runbook_runner.core.events import (
    AgentMessage,
    AgentNotice,
    AgentThinking,
    Event,
    Recorded,
    ToolCalled,
    ToolReturned,
)

STREAM = Path(__file__).with_name(f"claude-code-{VERSION}.jsonl")


def read(*records: Any) -> tuple[Reader, list[Event]]:
    reader = Reader()
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    return reader, [event for line in lines for event in reader.feed(line)]


def test_a_recorded_stream_becomes_messages_and_tool_calls() -> None:
    reader, events = read(*STREAM.read_text().splitlines())
    calls = [event for event in events if isinstance(event, ToolCalled)]
    answers = [event for event in events if isinstance(event, ToolReturned)]
    assert [call.name for call in calls] == ["Bash", "Bash", "Bash"]
    assert [answer.call_id for answer in answers] == [call.call_id for call in calls]
    assert reader.finished
    result = reader.result(0)
    assert result.error is None
    assert result.text.startswith("Done.")
    assert result.usage is not None
    assert (result.usage.prompt_tokens, result.usage.completion_tokens) == (10100, 1075)
    assert result.usage.cost_usd is not None


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


@pytest.mark.parametrize("line", [
    "not json", "[]", "7", '{"type": null}', '{"type":"assistant"}', '{"type":"assistant","message":{"content":7}}',
    '{"type":"assistant","message":{"content":[7, {"type":"tool_use","input":"x"}]}}', '{"type":"brand/new","x":1}', "",
    '{"type":"result","modelUsage":7,"usage":[],"total_cost_usd":"?"}', '{"type":"result","modelUsage":{"m":[1]}}',
])  # fmt: skip
def test_no_line_makes_the_reader_fail(line: str) -> None:
    reader, _ = read(line)
    assert reader.result(1).error is None or isinstance(reader.result(1).error, str)


def test_half_a_surrogate_pair_does_not_stop_the_recording() -> None:
    _, events = read(r'{"type":"assistant","message":{"content":[{"type":"text","text":"a\ud83d \ud83d\ude00"}]}}')
    assert events == [AgentMessage(text="a\ufffd 😀")]


def test_a_call_nested_without_end_is_cut_and_recorded() -> None:
    call = {"type": "tool_use", "id": "c", "name": "n"}
    line = json.dumps({"type": "assistant", "message": {"content": [{**call, "input": {"x": 7}}]}})
    _, (event,) = read(line.replace("7", "[" * 700 + "]" * 700))
    assert "nested too deeply" in Recorded(seq=1, ts="", event=event).line()


def test_an_unknown_record_is_kept_raw() -> None:
    _, events = read({"type": "brand_new", "subtype": "x", "value": [1]})
    assert events == [AgentNotice(kind="brand_new/x", payload={"type": "brand_new", "subtype": "x", "value": [1]})]


def test_a_stream_without_final_record_is_a_crash_with_its_last_line() -> None:
    reader, _ = read("Segmentation fault")
    result = reader.result(139)
    assert result.error_kind == "crashed"
    assert "139" in str(result.error)
    assert "Segmentation fault" in str(result.error)


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


def test_the_model_gets_the_mission_and_where_it_is() -> None:
    agent = find_agent("Claude-Code")
    agent_input = AgentInput(
        mission="# Do it",
        app="/work/here",
        model="m",
        gateway_url="http://gate:1",
        token="tok",
        input_names=("a.csv",),
        secret_names=("CRM_TOKEN",),
        parameters={"city": "Oslo"},
    )
    invocation = agent.invoke(agent_input)
    prompt = (invocation.stdin or b"").decode()
    assert prompt.startswith("# Do it\n")
    for part in ("`/work/here/results`", '"a.csv"', "CRM_TOKEN", 'city: "Oslo"'):
        assert part in prompt
    assert invocation.argv[-2:] == ("--model", "m")
    assert invocation.env["ANTHROPIC_BASE_URL"] == "http://gate:1"
    assert invocation.env["ANTHROPIC_AUTH_TOKEN"] == "tok"
    assert invocation.env["CLAUDE_CONFIG_DIR"] == "/work/here/.runbook/claude"
    assert "tok" not in " ".join(invocation.argv)


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
