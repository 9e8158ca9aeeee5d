"""A recording turned back into a model script: every API says the same, and the script says it again."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from runbook_runner.core.errors import InputError
from runbook_runner.core.events import Usage
from runbook_runner.core.formats.json_toml import CUT
from runbook_runner.gateway.cassette.answers import RecordedAnswer, read_answer
from runbook_runner.gateway.dialects import DIALECTS
from runbook_runner.gateway.dialects.base import Dialect, ParsedRequest, Reply, Tool, ToolCall
from runbook_runner.gateway.replay.index import open_index
from runbook_runner.gateway.script.from_recording import script_from

Scripted = Callable[[str], Any]

TOOL = Tool("Bash", {})
CALLS = (ToolCall("1", TOOL, {"command": "echo 'ü'", "n": 3}), ToolCall("2", TOOL, {}))
REPLY = Reply("id_1", "Let me think.", 'Grüße "all"\nof you', CALLS, Usage(api_calls=1))

TURNS = """\
- think: "What is there?\\nI should look."
  say: Looking.
  shell: ls -l
  usage: {input: 10, output: 4, cache_read: 3, cache_write: 2}
- shell:
    - echo one
    - "cat <<'X'\\n  two\\nX\\n"
- tools:
    - {name: Read, input: {file_path: /app/x, limit: 7}}
    - {name: Other}
- say: "Done: all"
  usage: {input: 5}
"""


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_what_was_said_is_read_back_from_every_api(dialect: Dialect, stream: bool) -> None:
    body = b"".join(dialect.render(REPLY, ParsedRequest("m", stream, (TOOL,), {}))).decode()
    answer = read_answer(dialect.name, body if stream else json.loads(body))
    calls = (("Bash", {"command": "echo 'ü'", "n": 3}), ("Bash", {}))
    assert answer == RecordedAnswer('Grüße "all"\nof you', "Let me think.", calls)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_an_answer_without_words_says_nothing(dialect: Dialect) -> None:
    body = b"".join(dialect.render(Reply("id_1", None, None, (), Usage()), ParsedRequest("m", True, (), {}))).decode()
    assert read_answer(dialect.name, body).calls == ()
    assert not read_answer(dialect.name, body).thinking


def play(line: Any, bash: dict[str, Any], turns: int, **body: Any) -> list[dict[str, Any]]:
    """A conversation of so many turns; the answers as the agent got them."""
    tools = [bash, {"name": "Read", "input_schema": {}}, {"name": "Other", "input_schema": {}}]
    messages: list[dict[str, Any]] = [{"role": "user", "content": "go"}]
    answers = []
    for _ in range(turns):
        answers.append(line.ask("", messages=messages, tools=tools, **body).json())
        messages += [{"role": "assistant", "content": answers[-1]["content"]}, {"role": "user", "content": "go on"}]
    return answers


def test_a_script_made_from_its_own_recording_says_the_same(scripted: Scripted, bash: dict[str, Any]) -> None:
    line = scripted(TURNS)
    first = play(line, bash, 4)
    text = script_from(open_index(line.cassette.folder))
    assert yaml.safe_load(text) == yaml.safe_load(TURNS)
    assert [answer["content"] for answer in play(scripted(text), bash, 4)] == [answer["content"] for answer in first]


def test_the_script_reads_as_people_write_it(scripted: Scripted, bash: dict[str, Any]) -> None:
    line = scripted("- {say: Go., shell: \"cat > x <<'E'\\na\\nE\\n\", usage: {input: 10, output: 4}}\n- say: End.")
    play(line, bash, 2)
    assert script_from(open_index(line.cassette.folder)) == (
        "- say: Go.\n  shell: |\n    cat > x <<'E'\n    a\n    E\n  usage: {input: 10, output: 4}\n\n- say: End.\n"
    )


def test_side_requests_retries_and_failures_are_no_turns(scripted: Scripted, bash: dict[str, Any]) -> None:
    line = scripted("- {error: 529}\n- {shell: ls}\n- say: End.")
    assert line.ask("go", tools=[bash]).status_code == 529
    line.ask("go", tools=[bash])
    line.ask("go", tools=[bash])
    line.ask("a title, please")
    line.ask("go on", tools=[bash])
    assert yaml.safe_load(script_from(open_index(line.cassette.folder))) == [{"shell": "ls"}, {"say": "End."}]


@pytest.mark.parametrize(("given", "turn"), [
    ({"command": "ls", "timeout": 5000}, {"shell": "ls", "timeout": 5}),
    ({"command": "ls", "timeout": 1500, "description": "Lists"}, {"shell": "ls", "timeout": 1.5}),
    ({"command": "ls", "timeout": 7_200_000}, None),
    ({"command": "ls", "timeout": 10**400}, None),
    ({"command": "ls", "more": 5}, None),
])  # fmt: skip
def test_how_long_a_command_may_take_is_said_in_seconds(
    scripted: Scripted, bash: dict[str, Any], given: dict[str, Any], turn: dict[str, Any] | None
) -> None:
    bash["input_schema"]["properties"]["timeout"]["description"] = "Optional timeout in milliseconds"
    line = scripted(json.dumps([{"tool": {"name": "Bash", "input": given}}]))
    line.ask("go", tools=[bash])
    (made,) = yaml.safe_load(script_from(open_index(line.cassette.folder)))
    assert made == (turn or {"tool": {"name": "Bash", "input": given}})


def test_a_recording_of_failures_makes_no_script(scripted: Scripted, bash: dict[str, Any]) -> None:
    line = scripted("- {error: 500}\n- say: never asked")
    line.ask("go", tools=[bash])
    with pytest.raises(InputError, match="No answer of a model is recorded here"):
        script_from(open_index(line.cassette.folder))


# --- what other servers and models say -----------------------------------------------------------------------------


def stream(*events: dict[str, Any]) -> str:
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events)


def piece(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"delta": delta}]}


def tool(name: str | None, arguments: str, **more: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}, **more}


@pytest.mark.parametrize("pieces", [
    [[tool("a", "{}", id="1")], [tool("b", '{"x":', id="2")], [tool(None, "1}")]],
    [[tool("a", "{}", id="1", index=0)], [tool("b", '{"x":1}', id="2", index=0)]],
    [[tool("a", "{}", id="1", index=0), tool("b", '{"x":', id="2", index=1)], [tool("b", "1}", id="2", index=1)]],
    [[tool("a", "{}", id="1", index=None), tool("b", '{"x":1}', id="2", index=None)]],
], ids=["no-index", "one-index", "repeated-ids", "null"])  # fmt: skip
def test_calls_in_pieces_are_told_apart_however_they_are_numbered(pieces: list[list[dict[str, Any]]]) -> None:
    assert read_answer("openai-chat", stream(*(piece(tool_calls=calls) for calls in pieces))).calls == (
        ("a", {}),
        ("b", {"x": 1}),
    )


def test_what_a_tool_was_given_is_read_as_deep_as_it_can_be_written() -> None:
    deep = "[" * 400 + "]" * 400
    in_pieces = stream(piece(tool_calls=[tool("a", f'{{"x": {deep}}}')]))
    whole = {"content": [{"type": "tool_use", "name": "a", "input": {"x": json.loads(deep)}}]}
    for dialect, response in (("openai-chat", in_pieces), ("anthropic", whole)):
        ((name, value),) = read_answer(dialect, response).calls
        assert (name, CUT in yaml.safe_dump(value, width=1000)) == ("a", True)


def test_pieces_of_content_and_refusals_are_words() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    mistral = piece(content=[thought, {"type": "text", "text": "Hi"}])
    assert read_answer("openai-chat", stream(mistral, piece(content="!"))) == RecordedAnswer("Hi!", "Hm.")
    assert read_answer(
        "openai-chat", {"choices": [{"message": {"content": None, "refusal": "No."}}]}
    ) == RecordedAnswer("No.")
    refused = {"output": [{"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}]}
    assert read_answer("openai-responses", refused) == RecordedAnswer("No.")
    parts = [{"candidates": [{"content": {"parts": [{"text": text}]}}]} for text in ("H", "i")]
    assert read_answer("gemini", parts) == RecordedAnswer("Hi"), "a stream that came as one JSON array"


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("odd", [None, 5, [], [5], {}, {"content": [5], "output": [5], "choices": [5], "candidates": 5},
    {"choices": [{"message": {"tool_calls": [5, {}]}}], "output": [{"type": "message", "content": [None]}]},
    stream({"type": "content_block_start", "index": None}, {"type": "content_block_delta", "index": []}, {"x": 1}),
], ids=str)  # fmt: skip
def test_what_is_not_understood_is_left_out(dialect: Dialect, odd: Any) -> None:
    assert read_answer(dialect.name, odd).text is None


def test_an_answer_that_was_cut_off_is_cut_off_again(scripted: Scripted, bash: dict[str, Any]) -> None:
    line = scripted("- {say: Half, stop: length}\n- {say: No., stop: refusal}\n- say: End.")
    play(line, bash, 3)
    turns = yaml.safe_load(script_from(open_index(line.cassette.folder)))
    assert turns == [{"say": "Half", "stop": "length"}, {"say": "No.", "stop": "refusal"}, {"say": "End."}]


@pytest.mark.parametrize("given", [
    {"command": "ls", "description": "Lists files"},
    {"command": "ls", "description": "Lists", "run_in_background": False},
    {"command": "ls", "workdir": "/app", "yield_time_ms": 1000, "max_output_tokens": 500, "login": True},
    {"command": "ls", "dir_path": ".", "is_background": False},
])  # fmt: skip
def test_a_command_with_words_about_it_runs_with_any_agent(
    scripted: Scripted, bash: dict[str, Any], given: dict[str, Any]
) -> None:
    line = scripted(json.dumps([{"tool": {"name": "Bash", "input": given}}]))
    line.ask("go", tools=[bash])
    assert yaml.safe_load(script_from(open_index(line.cassette.folder))) == [{"shell": "ls"}]


@pytest.mark.parametrize("given", [
    {"command": "ls", "workdir": "/app/results"},
    {"command": "ls", "run_in_background": True},
    {"description": "ls"},
])  # fmt: skip
def test_a_command_that_would_do_something_else_stays_as_it_is(
    scripted: Scripted, bash: dict[str, Any], given: dict[str, Any]
) -> None:
    line = scripted(json.dumps([{"tool": {"name": "Bash", "input": given}}]))
    line.ask("go", tools=[bash])
    assert yaml.safe_load(script_from(open_index(line.cassette.folder))) == [{"tool": {"name": "Bash", "input": given}}]
