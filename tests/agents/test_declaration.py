"""Agents that a file declares: what the file may say, what its mistakes get, and what becomes of it."""

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.agents.base import Agent, AgentInput
from runbook_runner.agents.registry import find_agent, known_agents, load_packaged
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import AgentMessage, AgentNotice, AgentThinking, Event, ToolCalled, ToolReturned, Usage

WHOLE = """\
version = "1.2.3"
install = ["pip install mine==1.2.3", "mine --version"]
install_hint = "pip install mine"
argv = ["mine", "--model", "{model}", "--home={home}", "{not_ours}", "{prompt_file}"]
prompt = "file"
dialect = "openai-chat"
sessions = "sessions"
env = {MINE_URL = "{gateway_url}/v1", MINE_TOKEN = "{token}"}

[files]
"config/mine.json" = '{"app": "{app}", "a": {"b": 1}}'

[events]
format = "jsonl"
kind = "event.type"

[[events.records]]
when = "say"
is = "message"
text = "event.parts.0.text"

[[events.records]]
when = "think"
is = "thinking"
text = "event.text"

[[events.records]]
when = "call"
is = "tool_call"
id = "event.id"
name = "event.tool"
input = "event.arguments"

[[events.records]]
when = {"event.type" = "done", "event.of" = "tool"}
is = "tool_result"
id = "event.id"
output = "event.output"
exit_code = "event.code"

[[events.records]]
when = "step"
is = "usage"
prompt = "event.in"
completion = "event.out"
sum = true

[[events.records]]
when = "end"
is = "message"
text = "event.text"
final = true

[[events.records]]
when = "fail"
is = "error"
text = "event.text"
status = "event.status"

[[errors]]
pattern = "ran dry"
kind = "usage_limit"
"""


def declare(folder: Path, text: str, name: str = "mine") -> Path:
    path = folder / ".runbook" / "agents" / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def mine(folder: Path, text: str = WHOLE) -> Agent:
    declare(folder, text)
    return find_agent("mine", [folder])


def read(agent: Agent, *records: Any) -> tuple[Any, list[Event]]:
    reader = agent.reader(AgentInput(mission="", app="/app"))
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    events = [event for line in lines for event in reader.feed(line)]
    return reader, [*events, *reader.rest()]


def test_a_file_says_how_the_agent_is_installed_and_called(tmp_path: Path) -> None:
    agent = mine(tmp_path)
    assert (agent.name, agent.binary, agent.version, agent.dialect) == ("mine", "mine", "1.2.3", "openai-chat")
    assert agent.install.layer == "RUN pip install mine==1.2.3\nRUN mine --version\n"
    assert agent.sessions == "/app/.runbook/agents/mine/sessions"
    given = AgentInput(mission="# Do it", app="/tmp/x", model="m", gateway_url="http://g:1", token="t0")
    invocation = agent.invoke(given)
    home = "/tmp/x/.runbook/agents/mine"
    assert invocation.argv == ("mine", "--model", "m", f"--home={home}", "{not_ours}", f"{home}/prompt.md")
    assert invocation.env == {"MINE_URL": "http://g:1/v1", "MINE_TOKEN": "t0"}
    assert invocation.files["/app/.runbook/agents/mine/config/mine.json"] == b'{"app": "/tmp/x", "a": {"b": 1}}'
    assert invocation.files["/app/.runbook/agents/mine/prompt.md"].startswith(b"# Do it")
    assert invocation.stdin is None


@pytest.mark.parametrize(("how", "argv", "last"), [
    ("stdin", '["mine"]', "mine"),
    ("arg", '["mine", "-p"]', "# Do it"),
    ("arg", '["mine", "{prompt}", "-v"]', "-v"),
])  # fmt: skip
def test_the_prompt_goes_in_as_the_file_says(tmp_path: Path, how: str, argv: str, last: str) -> None:
    agent = mine(tmp_path, f'argv = {argv}\nprompt = "{how}"\n')
    invocation = agent.invoke(AgentInput(mission="# Do it", app="/app"))
    assert invocation.argv[-1].startswith(last)
    assert (invocation.stdin or b"").startswith(b"# Do it") is (how == "stdin")
    assert any(word.startswith("# Do it") for word in invocation.argv) is (how == "arg")


def test_a_prompt_that_is_too_long_for_an_argument_is_refused_with_what_to_declare(tmp_path: Path) -> None:
    agent = mine(tmp_path, 'argv = ["mine"]\nprompt = "arg"\n')
    with pytest.raises(
        InputError, match=r"The prompt of mine has [\d,]+ bytes; an argument can have 131,071\.(.|\n)*stdin"
    ):
        agent.invoke(AgentInput(mission="x" * 131_072, app="/app"))


def test_a_model_that_is_needed_and_not_named_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"needs a model(.|\n)*--model"):
        mine(tmp_path).invoke(AgentInput(mission="", app="/app"))


def test_the_nearest_file_wins_and_our_own_names_are_ours(tmp_path: Path) -> None:
    near = tmp_path / "a" / "b"
    near.mkdir(parents=True)
    declare(tmp_path, 'argv = ["far"]')
    declare(tmp_path / "a", 'argv = ["near"]')
    declare(tmp_path, 'argv = ["fake"]', "codex")
    assert find_agent("Mine", [near]).binary == "near"
    assert find_agent("codex", [near]).binary == "codex"
    assert {"mine", "codex", "shell"} <= set(known_agents([near]))
    assert "mine" not in known_agents()


def test_an_unknown_agent_gets_the_name_that_was_meant(tmp_path: Path) -> None:
    declare(tmp_path, 'argv = ["x"]')
    with pytest.raises(InputError, match=r"(?s)Unknown agent 'mime'.*Did you mean 'mine'\?.*claude-code, codex"):
        find_agent("mime", [tmp_path])


@pytest.mark.parametrize(("text", "line", "said"), [
    ('argv = ["m", "--servers={mcp_servers}"]', 1, "{mcp_servers} may hold a secret"),
    ('argv = ["m", "{token}"]', 1, "{token} may hold a secret"),
    ('argv = ["m"]\nenv = {SERVERS = "{mcp_servers}"}', 2, "{mcp_servers} may hold a secret"),
    ("argv = [\n", 1, "This is not TOML"),
    ('argv = ["x"]\nargv = ["y"]\n', 2, "This is not TOML"),
    ('version = "1"\n', 1, "argv: is missing"),
    ("argv = []\n", 1, "argv: must not be empty"),
    ('argv = ["x"]\n\npromt = "arg"\n', 3, "Unknown key 'promt'.\nDid you mean 'prompt'?"),
    ('argv = ["x"]\nprompt = "argument"\n', 2, "prompt: must be 'stdin', 'arg' or 'file'"),
    ('argv = ["x"]\nprompt = "file"\n', 1, '{prompt_file} in argv'),
    ('argv = ["x"]\ndialect = "openai"\n', 2, "dialect: must be 'anthropic'"),
    ('argv = ["x"]\ninstall = ["a\\nb"]\n', 2, "install: each command is one line"),
    ('argv = ["x"]\n[files]\n"/etc/passwd" = "x"\n', 2, "not below the agent's home"),
    ('argv = ["a\\u0000b"]\n', 1, "argv: no program and no file takes a NUL"),
    ('argv = ["x"]\nenv = {"A\\u0000" = "x"}\n', 2, "env: no program and no file takes a NUL"),
    ('argv = ["x"]\nsessions = "a\\u0000b"\n', 2, "sessions: no program and no file takes a NUL"),
    ('argv = ["x"]\nsession_db = "' + "a" * 250 + '"\n', 2, "is too long: 200 bytes a name"),
    ('argv = ["x"]\n[files]\n"' + "a/" * 600 + 'b" = "x"\n', 2, "is too long: 200 bytes a name, 1000 in all"),
    ('argv = ["x"]\n[events]\nformat = "json"\n', 3, "events.format: must be 'text' or 'jsonl'"),
    ('argv = ["x"]\n[[events.records]]\nwhen = "a"\nis = "message"\ntext = "t"\n[[events.records]]\nwhen = "b"\n'
     'is = "message"\ntxt = "t"\n', 9, "Unknown key 'txt'.\nDid you mean 'text'?"),
    ('argv = ["x"]\n[[events.records]]\nwhen = "a"\nis = "speech"\n', 2, "does not match any of the expected tags"),
    ('argv = ["x"]\n[[errors]]\npattern = "("\nkind = "network"\n', 3, "This is not a regular expression"),
    ('argv = ["x"]\n[[errors]]\npattern = "a"\nkind = "netwrk"\n', 4, "known kinds are usage_limit"),
    ('argv = ["x"]\n' + '[[events.records]]\nwhen = "a"\nis = "message"\ntext = "t"\n' * 201, 2, "at most 200 items"),
    ('argv = ["x"]\n[[events.records]]\nwhen = "a"\nis = "message"\ntext = "' + "a" * 600 + '"\n', 5, "at most 500"),
])  # fmt: skip
def test_a_mistake_in_the_file_is_told_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = declare(tmp_path, text)
    with pytest.raises(InputError) as caught:
        find_agent("mine", [tmp_path])
    assert said in str(caught.value)
    errors = [part for part in str(caught.value).splitlines() if part.startswith(f"{path}:")]
    assert errors, str(caught.value)
    assert abs(int(errors[0].removeprefix(f"{path}:").split(":")[0]) - line) <= 1


def test_rules_say_what_a_record_means(tmp_path: Path) -> None:
    reader, events = read(
        mine(tmp_path),
        {"event": {"type": "say", "parts": [{"text": "hello"}]}},
        {"event": {"type": "think", "text": "hm"}},
        {"event": {"type": "call", "id": "1", "tool": "sh", "arguments": '{"command": "ls"}'}},
        {"event": {"type": "done", "of": "tool", "id": "1", "output": "x", "code": 2}},
        {"event": {"type": "done", "of": "something else"}},
        {"event": {"type": "step", "in": 10, "out": 2}},
        {"event": {"type": "step", "in": 5, "out": 1}},
        {"event": {"type": "end", "text": "Bye."}},
    )
    assert [event for event in events if not isinstance(event, AgentNotice)] == [
        AgentMessage(text="hello"),
        AgentThinking(text="hm"),
        ToolCalled(call_id="1", name="sh", input={"command": "ls"}),
        ToolReturned(call_id="1", output="x", is_error=True, exit_code=2),
        AgentMessage(text="Bye."),
    ]
    assert [event.kind for event in events if isinstance(event, AgentNotice)] == ["done", "step", "step"]
    assert reader.finished
    result = reader.result(0)
    assert (result.text, result.error) == ("Bye.", None)
    assert result.usage == Usage(prompt_tokens=15, completion_tokens=3)


@pytest.mark.parametrize(("event", "kind"), [
    ({"text": "the tank ran dry", "status": 429}, "usage_limit"),
    ({"text": "no", "status": 503}, "overloaded"),
    ({"text": "no", "status": "?"}, "agent_error"),
])  # fmt: skip
def test_the_files_own_patterns_tell_the_kind_of_an_error_first(tmp_path: Path, event: Any, kind: str) -> None:
    reader, _ = read(mine(tmp_path), {"event": {"type": "fail", **event}})
    assert reader.result(1).error_kind == kind


@pytest.mark.parametrize("line", [
    "x", "[]", "7", '{"event": 7}', '{"event": {"type": "say", "parts": []}}', '{"event": {"type": "step"}}',
    '{"event": {"type": "call", "arguments": [1]}}',
])  # fmt: skip
def test_no_line_breaks_the_rules(tmp_path: Path, line: str) -> None:
    reader, events = read(mine(tmp_path), line)
    assert len(events) == 1
    assert reader.result(1).error_kind == "crashed"


def test_without_rules_text_is_told_by_the_paragraph(tmp_path: Path) -> None:
    reader, events = read(mine(tmp_path, 'argv = ["x"]'), "one", "two", "", "", "three")
    assert events == [AgentMessage(text="one\ntwo"), AgentMessage(text="three")]
    assert (reader.result(0).text, reader.result(0).error) == ("three", None)
    assert reader.result(2).error == "mine ended with exit code 2. three"


def test_a_package_brings_agents_by_entry_point() -> None:
    point = EntryPoint("other", "runbook_runner.agents.built_in.shell:AGENT", "runbook_runner.agents")
    assert load_packaged(point).name == "shell"
    for broken in ("runbook_runner.agents.built_in.shell:runnable", "no_such_module_here:AGENT"):
        with pytest.raises(InputError, match="entry point other"):
            load_packaged(EntryPoint("other", broken, "runbook_runner.agents"))
