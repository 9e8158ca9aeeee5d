"""What an agent gets from a scripted model."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from runbook_runner.core.events import ModelCalled

Scripted = Callable[[str], Any]


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    frames = [frame.split("\n") for frame in text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in frames]


def test_shell_turn_calls_the_shell_tool_that_is_offered(scripted: Scripted, bash: dict[str, Any]) -> None:
    line = scripted("- {say: Looking., shell: ls -l, usage: {input: 10, output: 4, cache_read: 3, cache_write: 2}}")
    message = line.ask("go", tools=[{"name": "Read", "input_schema": {}}, bash]).json()
    assert message["content"] == [
        {"type": "text", "text": "Looking."},
        {"type": "tool_use", "id": "toolu_script_0001", "name": "Bash", "input": {"command": "ls -l"}},
    ]
    assert message["stop_reason"] == "tool_use"
    assert message["usage"] == {
        "input_tokens": 10,
        "output_tokens": 4,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": 2,
    }


def test_streamed_answer_has_the_events_of_the_real_api_in_order(scripted: Scripted, bash: dict[str, Any]) -> None:
    line = scripted("- {say: 'Grüße', shell: 'echo \"hi\"', usage: {input: 10, output: 4}}")
    response = line.ask("go", tools=[bash], stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = events_of(response.text)
    assert [name for name, _ in events] == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert all(data["type"] == name for name, data in events)
    assert events[0][1]["message"]["usage"]["input_tokens"] == 10
    assert events[3][1]["delta"] == {"type": "text_delta", "text": "Grüße"}
    assert events[5][1]["content_block"] == {
        "type": "tool_use",
        "id": "toolu_script_0001",
        "name": "Bash",
        "input": {},
    }
    assert json.loads(events[6][1]["delta"]["partial_json"]) == {"command": 'echo "hi"'}
    assert events[8][1]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert events[8][1]["usage"]["output_tokens"] == 4


def test_turns_come_in_order_and_tokens_add_up_to_the_scripts(scripted: Scripted) -> None:
    line = scripted("- {say: one, usage: {input: 5, output: 1}}\n- {say: two, usage: {input: 7, cache_read: 2}}")
    texts = [line.ask(question, stream=stream).text for question, stream in (("a", False), ("b", True))]
    assert '"one"' in texts[0]
    assert '"two"' in texts[1]
    assert line.session.calls == 2
    usage = line.session.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cache_read_tokens, usage.api_calls) == (12, 1, 2, 2)


def test_a_price_without_end_is_recorded_as_unknown(scripted: Scripted) -> None:
    line = scripted("- say: hi\n  usage: {output: 1, cost: .inf}")
    line.ask("go")
    assert line.events[-1].usage.cost_usd is None, "JSON has no infinity"


def test_question_asked_again_gets_the_same_turn(scripted: Scripted) -> None:
    line = scripted("- say: one\n- say: two")
    first = line.ask("a", stream=True)
    again = line.ask("a", stream=True)
    without_stream = line.ask("a", stream=False, max_tokens=5)
    assert again.text == first.text
    assert without_stream.json()["content"] == [{"type": "text", "text": "one"}]
    assert line.ask("b").json()["content"] == [{"type": "text", "text": "two"}]


def test_request_without_tools_does_not_eat_a_shell_turn(scripted: Scripted, bash: dict[str, Any]) -> None:
    line = scripted("- {shell: ls, usage: {input: 9}}\n- say: end")
    title = line.ask("a title, please").json()
    assert title["content"] == [{"type": "text", "text": "OK."}]
    assert title["usage"]["input_tokens"] == 0
    assert line.ask("go", tools=[bash]).json()["stop_reason"] == "tool_use"
    summary = line.ask("a summary, please").json()
    assert summary["content"] == [{"type": "text", "text": "OK."}]
    assert line.ask("go on", tools=[bash]).json()["content"] == [{"type": "text", "text": "end"}]
    assert [call.side for call in line.cassette.calls()] == [True, False, True, False]
    assert line.session.usage.api_calls == 2
    assert line.session.failure is None


def test_script_that_ends_too_early_fails_the_call_and_the_session(scripted: Scripted) -> None:
    line = scripted("- say: only")
    line.ask("a")
    response = line.ask("b")
    assert response.status_code == 400
    assert response.json()["type"] == "error"
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert "model.yaml ended after 1 turn, " in response.json()["error"]["message"]
    assert line.session.failure.kind == "script"
    assert line.session.failure.message == response.json()["error"]["message"]
    assert line.cassette.calls()[1].status == 400
    assert "ended after 1 turn, " in line.events[1].error


def test_shell_turn_without_a_shell_tool_says_what_is_offered(scripted: Scripted) -> None:
    line = scripted("- shell: ls")
    response = line.ask("go", tools=[{"name": "Read", "input_schema": {}}])
    assert response.status_code == 400
    assert "turn 1 of the model script" in response.text
    assert "offers no shell tool, only: Read." in response.text
    assert line.session.failure.kind == "script"


def test_tool_that_is_not_offered_is_refused_with_the_near_name(scripted: Scripted) -> None:
    line = scripted("- tool: {name: raed}")
    response = line.ask("go", tools=[{"name": "Read", "input_schema": {}}])
    assert response.status_code == 400
    assert "calls raed, which the request does not offer, only: Read. Did you mean Read?" in response.text
    many = [{"name": f"tool{number}", "input_schema": {}} for number in range(30)]
    assert "only: tool0, tool1, tool2, tool3, tool4, tool5, tool6, tool7, 22 more." in line.ask("on", tools=many).text


def test_counting_tokens_moves_nothing(scripted: Scripted) -> None:
    line = scripted("- {say: one, usage: {input: 5}}")
    counted = line.post("/v1/messages/count_tokens", model="m", messages=[{"role": "user", "content": "x" * 400}])
    assert 100 <= counted.json()["input_tokens"] <= 130
    assert line.ask("a").json()["content"][0]["text"] == "one"
    assert line.session.usage.api_calls == 1


def test_every_call_is_an_event(scripted: Scripted) -> None:
    line = scripted("- {say: one, usage: {input: 5, output: 2}}")
    line.ask("a", model="claude-x")
    (event,) = line.events
    assert isinstance(event, ModelCalled)
    assert (event.number, event.dialect, event.model, event.source) == (1, "anthropic", "claude-x", "script")
    assert (event.status, event.usage.prompt_tokens, event.usage.completion_tokens) == (200, 5, 2)
    assert 0 <= event.seconds < 10


def test_two_sessions_have_their_own_places_in_one_script(connect: Any, scripted: Scripted) -> None:
    first = scripted("- say: one\n- say: two")
    second = scripted("- say: one\n- say: two")
    assert "one" in first.ask("a").text
    assert "one" in second.ask("b").text
    assert "two" in first.ask("c").text
    assert (first.session.calls, second.session.calls) == (2, 1)


@pytest.mark.parametrize(
    ("name", "schema", "expected"),
    [
        ("shell", {"properties": {"command": {"type": "array"}}}, {"command": ["bash", "-lc", "ls"]}),
        (
            "run_shell_command",
            {
                "properties": {"command": {"type": "string"}, "description": {"type": "string"}},
                "required": ["command", "description"],
            },
            {"command": "ls", "description": "Scripted command"},
        ),
        (
            "exec_command",
            {
                "properties": {"cmd": {"type": "string"}, "tty": {"type": "boolean"}, "mode": {"enum": ["a", "b"]}},
                "required": ["cmd", "tty", "mode"],
            },
            {"cmd": "ls", "tty": False, "mode": "a"},
        ),
        ("terminal", {"properties": {"line": {"type": "string"}}, "required": ["line"]}, {"line": "ls"}),
        ("local_shell", {}, {"command": "ls"}),
        ("local_shell", {"required": 5}, {"command": "ls"}),
    ],
)
def test_shell_tools_of_other_agents_get_the_command_their_way(
    scripted: Scripted, name: str, schema: dict[str, Any], expected: dict[str, Any]
) -> None:
    line = scripted("- shell: ls")
    (call,) = line.ask("go", tools=[{"name": name, "input_schema": schema}]).json()["content"]
    assert call["name"] == name
    assert call["input"] == expected


# --- commands that take longer than the agent waits ----------------------------------------------------------------

EXEC = {"type": "function", "name": "exec_command", "parameters": {"properties": {"cmd": {"type": "string"}}}}
STDIN = {"type": "function", "name": "write_stdin", "parameters": {}}


def output(*texts: str) -> list[dict[str, Any]]:
    calls = [{"type": "function_call", "call_id": f"c{n}", "name": "x"} for n in range(len(texts))]
    outputs = [{"type": "function_call_output", "call_id": f"c{n}", "output": text} for n, text in enumerate(texts)]
    return [*calls, *outputs]


def test_the_next_turn_waits_until_the_commands_of_codex_have_ended(scripted: Scripted) -> None:
    line = scripted("- shell: [sleep 60, 'true', sleep 70]\n- say: Done.")
    said: list[dict[str, Any]] = [{"role": "user", "content": "go"}]

    def answer(*outputs: str) -> list[Any]:
        said.extend(output(*outputs))
        response = line.post("/v1/responses", model="m", tools=[EXEC, STDIN], input=said)
        assert response.status_code == 200
        return [item.get("arguments") or item["content"][0]["text"] for item in response.json()["output"]]

    assert len(answer()) == 3
    running = "Wall time: 10 seconds\nProcess running with session ID {}\nOutput:\n"
    polls = answer(running.format(4711), "Process exited with code 0", running.format(4712))
    assert [json.loads(poll)["session_id"] for poll in polls] == [4711, 4712]
    (poll,) = answer("Process exited with code 0", running.format(4712))
    assert json.loads(poll)["session_id"] == 4712
    printed = "Process exited with code 0\nOutput:\nProcess running with session ID 9 is what it printed"
    assert answer(printed, running.format("9" * 5000)) == ["Done."], "no number of a session"
    assert line.session.usage.api_calls == 2, "waiting is no turn"


def test_a_script_that_calls_the_tools_of_codex_waits_itself(scripted: Scripted) -> None:
    line = scripted("- tool: {name: exec_command, input: {cmd: serve}}\n- say: It serves.")
    first = {"model": "m", "tools": [EXEC, STDIN], "input": [{"role": "user", "content": "go"}]}
    line.post("/v1/responses", **first)
    then = [*first["input"], *output("Process running with session ID 4711")]
    assert "It serves." in line.post("/v1/responses", **{**first, "input": then}).text


@pytest.mark.parametrize(("named", "given"), [
    ({"timeout": {"type": "number", "description": "Optional timeout in milliseconds"}}, {"timeout": 300_000}),
    ({"timeout": {"type": "integer", "description": "Max seconds to wait"}}, {"timeout": 300}),
    ({"timeout_ms": {"type": "number"}}, {"timeout_ms": 300_000}),
    ({"yield_time_ms": {"type": "number"}}, {}),
])  # fmt: skip
def test_agents_are_told_in_their_own_units_how_long_a_command_may_take(
    scripted: Scripted, named: dict[str, Any], given: dict[str, Any]
) -> None:
    schema = {"properties": {"command": {"type": "string"}, **named}, "required": ["command"]}
    line = scripted("- {shell: make, timeout: 300}\n- shell: ls")
    first, second = (line.ask(q, tools=[{"name": "Bash", "input_schema": schema}]).json()["content"][0] for q in "ab")
    assert first["input"] == {"command": "make", **given}
    assert second["input"] == {"command": "ls"}
