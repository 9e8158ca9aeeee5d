"""A recording turned back into a model script: every API says the same, and the script says it again."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from runbook_runner.errors import InputError
from runbook_runner.events import Usage
from runbook_runner.gateway.answers import Said, said
from runbook_runner.gateway.dialects import DIALECTS
from runbook_runner.gateway.dialects.base import Ask, Call, Dialect, Reply, Tool
from runbook_runner.gateway.library import open_library
from runbook_runner.gateway.script_from import script_from

Scripted = Callable[[str], Any]

TOOL = Tool("Bash", {})
CALLS = (Call("1", TOOL, {"command": "echo 'ü'", "n": 3}), Call("2", TOOL, {}))
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
    body = b"".join(dialect.render(REPLY, Ask("m", stream, (TOOL,), {}))).decode()
    answer = said(dialect.name, body if stream else json.loads(body))
    calls = (("Bash", {"command": "echo 'ü'", "n": 3}), ("Bash", {}))
    assert answer == Said('Grüße "all"\nof you', "Let me think.", calls)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_an_answer_without_words_says_nothing(dialect: Dialect) -> None:
    body = b"".join(dialect.render(Reply("id_1", None, None, (), Usage()), Ask("m", True, (), {}))).decode()
    assert said(dialect.name, body).calls == ()
    assert not said(dialect.name, body).thinking


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
    text = script_from(open_library(line.cassette.folder))
    assert yaml.safe_load(text) == yaml.safe_load(TURNS)
    assert [answer["content"] for answer in play(scripted(text), bash, 4)] == [answer["content"] for answer in first]


def test_the_script_reads_as_people_write_it(scripted: Scripted, bash: dict[str, Any]) -> None:
    line = scripted("- {say: Go., shell: \"cat > x <<'E'\\na\\nE\\n\", usage: {input: 10, output: 4}}\n- say: End.")
    play(line, bash, 2)
    assert script_from(open_library(line.cassette.folder)) == (
        "- say: Go.\n  shell: |\n    cat > x <<'E'\n    a\n    E\n  usage: {input: 10, output: 4}\n\n- say: End.\n"
    )


def test_side_requests_retries_and_failures_are_no_turns(scripted: Scripted, bash: dict[str, Any]) -> None:
    line = scripted("- {error: 529}\n- {shell: ls}\n- say: End.")
    assert line.ask("go", tools=[bash]).status_code == 529
    line.ask("go", tools=[bash])
    line.ask("go", tools=[bash])
    line.ask("a title, please")
    line.ask("go on", tools=[bash])
    assert yaml.safe_load(script_from(open_library(line.cassette.folder))) == [{"shell": "ls"}, {"say": "End."}]


def test_a_shell_call_with_more_than_a_command_keeps_it(scripted: Scripted, bash: dict[str, Any]) -> None:
    line = scripted("- tool: {name: Bash, input: {command: ls, timeout: 5}}")
    line.ask("go", tools=[bash])
    (turn,) = yaml.safe_load(script_from(open_library(line.cassette.folder)))
    assert turn == {"tool": {"name": "Bash", "input": {"command": "ls", "timeout": 5}}}


def test_a_recording_of_failures_makes_no_script(scripted: Scripted, bash: dict[str, Any]) -> None:
    line = scripted("- {error: 500}\n- say: never asked")
    line.ask("go", tools=[bash])
    with pytest.raises(InputError, match="No answer of a model is recorded here"):
        script_from(open_library(line.cassette.folder))
