"""What every agent does. One suite, run over the table of built-in agents and over an agent that a file declares."""

import json
import posixpath
import re
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.agents.base import SILENCE_S, Agent, AgentInput, Invocation, StreamReader
from runbook_runner.agents.built_in import BUILT_IN_AGENTS, WITHOUT_MODEL
from runbook_runner.agents.failures import KINDS
from runbook_runner.agents.registry import find_agent, infer_agent
from runbook_runner.core import settings
from runbook_runner.core.declared import Block, McpServer
from runbook_runner.core.events import AgentMessage, AgentNotice, Event, Recorded, ToolCalled, ToolReturned
from runbook_runner.core.facts.providers import PROVIDERS, only_other_maker, spell_model
from runbook_runner.gateway.dialects import DIALECTS
from runbook_runner.gateway.providers.http_client import READ_S

DECLARED = "declared"
FILE = """\
argv = ["mine", "--model", "{model}"]
dialect = "openai-chat"
default_model = "mine-1"
models = "mine-.*"
providers = ["ollama"]
sessions = "sessions"
env = {MINE_URL = "{gateway_url}/v1", MINE_TOKEN = "{token}", MINE_HOME = "{home}"}
[files]
"mcp.json" = '{mcp_servers}'
[events]
format = "jsonl"
[[events.records]]
when = "say"
is = "message"
text = "text"
[[events.records]]
when = "end"
is = "usage"
prompt = "tokens"
final = true
"""

APP = "/work/here"
TOKEN, SERVER_SECRET = "gateway-token-4711", "server-secret-0815"
MISSION = "# Count the ships\n\nWrite them to `/work/here/results/out.txt`.\n"
BLOCKS = (Block("Step 1: Count", "bash", "echo counted", 5), Block("Step 2: Tell", "python", "print('told')", 9))
MCP_SERVERS = (
    McpServer("local", "stdio", command="tally", args=("--fast",), env={"KEY": SERVER_SECRET}),
    McpServer("remote", "http", url="https://mcp.example/v1", headers={"Authorization": f"Bearer {SERVER_SECRET}"}),
)
KEY = "0123456789abcdef"


@pytest.fixture(params=[*BUILT_IN_AGENTS, DECLARED])
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> Agent:
    if request.param != DECLARED:
        return find_agent(request.param)
    path = tmp_path / ".runbook" / "agents" / f"{DECLARED}.toml"
    path.parent.mkdir(parents=True)
    path.write_text(FILE)
    return find_agent(DECLARED, [tmp_path])


def agent_input(agent: Agent, **more: Any) -> AgentInput:
    """All that a run can give; an agent without a dialect gets no model."""
    has_model = agent.dialect is not None
    given = {
        "mission": MISSION,
        "app": APP,
        "blocks": BLOCKS,
        "model": agent.facts.default_model if has_model else None,
        "gateway_url": "http://gateway:4000" if has_model else None,
        "token": TOKEN if has_model else None,
        "parameters": {"city": "Oslo"},
        "input_names": ("ships.csv",),
        "secret_names": ("CRM_TOKEN",),
        "mcp_servers": MCP_SERVERS,
        "key": KEY,
    }
    return AgentInput(**{**given, **more})


def read(agent: Agent, *lines: str) -> tuple[StreamReader, list[Event]]:
    """The reader after these lines, before the end of the output."""
    reader = agent.reader(agent_input(agent))
    return reader, [event for line in lines for event in reader.feed(line)]


def recording(agent: Agent) -> list[str]:
    """Output of the pinned version at work on one and the same mission, with a model script."""
    if agent.version is None:
        pytest.skip("this agent has no pinned version")
    return Path(__file__).with_name(f"{agent.name}-{agent.version}.jsonl").read_text().splitlines()


def of(kind: type[Event], events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


# --- facts ---------------------------------------------------------------------------------------------------------


def test_an_agent_with_a_model_has_a_default_model_that_its_own_provider_serves(agent: Agent) -> None:
    facts = agent.facts
    if agent.dialect is None:
        assert (facts.default_model, facts.models, facts.providers) == (None, "", ())
        return
    assert facts.default_model
    assert facts.providers
    own = facts.providers[0]
    assert agent.dialect in PROVIDERS[own].dialects, "its own provider speaks its API"
    assert spell_model(facts.default_model, own) is not None
    assert only_other_maker(facts.default_model, own) is None


def test_the_models_that_mean_an_agent_include_its_default_model(agent: Agent, tmp_path: Path) -> None:
    facts = agent.facts
    if facts.models:
        assert facts.means(str(facts.default_model))
        assert infer_agent(facts.default_model, [tmp_path]) == facts


def test_the_facts_of_a_built_in_agent_are_those_of_its_row(agent: Agent) -> None:
    assert agent.facts == BUILT_IN_AGENTS.get(agent.name, agent.facts)


def test_the_gateway_speaks_the_api_of_the_agent(agent: Agent) -> None:
    assert agent.dialect is None or agent.dialect in {dialect.name for dialect in DIALECTS}


def test_an_agent_that_is_installed_proves_its_pinned_version_and_tells_how(agent: Agent) -> None:
    install = agent.install
    if not install.layer:
        return
    assert install.layer.startswith("RUN ")
    assert agent.version
    assert agent.version in install.layer
    assert f"{agent.binary} --version" in install.layer
    assert agent.version in install.host_commands
    assert agent.version in install.hint


def test_the_kinds_of_failure_it_tells_are_known(agent: Agent) -> None:
    for pattern, kind in agent.errors:
        re.compile(pattern)
        assert kind in KINDS


def test_its_session_files_are_in_the_private_folder_of_the_sandbox(agent: Agent) -> None:
    for path in (agent.sessions, agent.session_db):
        assert path is None or is_private(path)


def test_the_agent_of_a_sandbox_without_a_model_needs_none() -> None:
    assert BUILT_IN_AGENTS[WITHOUT_MODEL].dialect is None


# --- what is started -----------------------------------------------------------------------------------------------


def is_private(path: str) -> bool:
    return path.startswith(f"{settings.PRIVATE}/") and posixpath.normpath(path) == path


def places(invocation: Invocation, text: str) -> list[str]:
    """Where in the invocation the text is."""
    return [
        *(f"argv {number}" for number, word in enumerate(invocation.argv) if text in word),
        *(f"env {name}" for name, value in invocation.env.items() if text in value),
        *(["stdin"] if text.encode() in (invocation.stdin or b"") else []),
        *(f"file {path}" for path, content in invocation.files.items() if text.encode() in content),
    ]


def test_the_invocation_is_one_the_system_can_start(agent: Agent) -> None:
    invocation = agent.invoke(agent_input(agent))
    assert agent.binary in (invocation.argv[0], *invocation.argv[5:])  # or behind a script of ours
    assert all(isinstance(word, str) and word and "\0" not in word for word in invocation.argv)
    for name, value in invocation.env.items():
        assert re.fullmatch(r"[A-Z][A-Z0-9_]*", name)
        assert "\0" not in value
    assert all(map(is_private, invocation.files))


def test_the_same_input_gives_the_same_invocation(agent: Agent) -> None:
    assert agent.invoke(agent_input(agent)) == agent.invoke(agent_input(agent))


def test_the_token_is_in_one_variable_and_nowhere_else(agent: Agent) -> None:
    found = places(agent.invoke(agent_input(agent)), TOKEN)
    assert len(found) == (0 if agent.dialect is None else 1)
    assert all(place.startswith("env ") for place in found)


def test_secrets_of_mcp_servers_are_in_private_files_only(agent: Agent) -> None:
    found = places(agent.invoke(agent_input(agent)), SERVER_SECRET)
    assert all(place.startswith("file ") for place in found)
    assert bool(found) is (agent.dialect is not None)


def test_an_mcp_server_has_a_minute_to_start_with_every_cli(agent: Agent) -> None:
    """By their own defaults some give it five seconds, and one ten minutes."""
    invocation = agent.invoke(agent_input(agent))
    if agent.version is not None:
        ways = ("60000", "120000", '"startup_timeout_sec": 60', "startup_timeout_sec = 60", '"connect_timeout": 60')
        assert [way for way in ways if places(invocation, way)]


def test_a_silent_model_is_waited_for_until_the_gateway_gives_it_up(agent: Agent) -> None:
    """By its own default Gemini CLI cuts a request after one minute, opencode after five. Hermes has waited for as
    long as was tried, 330 s."""
    if agent.version is not None and agent.name != "hermes":
        invocation = agent.invoke(agent_input(agent))
        assert SILENCE_S > READ_S
        assert places(invocation, f"{SILENCE_S}000") or places(invocation, f'"intValue": "{SILENCE_S}"')


def test_the_mission_reaches_the_agent_with_a_note_on_what_it_has(agent: Agent) -> None:
    invocation = agent.invoke(agent_input(agent))
    if agent.facts.runs_blocks:
        assert [len(places(invocation, block.code)) for block in BLOCKS] == [1, 1]
        return
    for text in (MISSION.rstrip(), f"`{APP}/results`", '"ships.csv"', "CRM_TOKEN", 'city: "Oslo"'):
        assert places(invocation, text), text


def test_the_model_and_the_gateway_reach_the_agent(agent: Agent) -> None:
    invocation = agent.invoke(agent_input(agent))
    if agent.dialect is not None:
        assert places(invocation, str(agent.facts.default_model))
        assert places(invocation, "http://gateway:4000")


def test_paths_are_those_of_its_process(agent: Agent) -> None:
    """Where there are no mounts, `/app` is another folder."""
    invocation = agent.invoke(agent_input(agent))
    assert [word for word in (*invocation.argv, *invocation.env.values()) if "/app/" in word] == []
    assert [path for path, content in invocation.files.items() if b"/app/" in content] == []
    assert b"/app/" not in (invocation.stdin or b"")


def test_a_mission_longer_than_an_argument_may_be_is_started_too(agent: Agent) -> None:
    invocation = agent.invoke(agent_input(agent, mission="# Long\n\n" + "word " * 60_000))
    assert max(len(word.encode()) for word in (*invocation.argv, *invocation.env.values())) < 128 << 10


# --- what is read --------------------------------------------------------------------------------------------------


def test_the_recording_of_the_pinned_version_becomes_messages_and_tool_calls(agent: Agent) -> None:
    lines = recording(agent)
    reader, events = read(agent, *lines)
    calls, answers = of(ToolCalled, events), of(ToolReturned, events)
    assert [call.input["command"][:12] for call in calls] == ["head -n 3 /a", "mkdir -p /ap", "ls -l /app/r"]
    assert [answer.call_id for answer in answers] == [call.call_id for call in calls]
    assert not any(answer.is_error for answer in answers)
    texts = [message.text for message in of(AgentMessage, events) if message.role == "assistant"]
    assert (len(texts), texts[0]) == (4, "I'll look at the input first.")
    assert not [notice for notice in of(AgentNotice, events) if notice.kind == "unreadable"]
    assert reader.finished
    result = reader.result(0)
    assert (result.error, result.text) == (None, texts[-1])
    assert result.usage is not None
    usage = result.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cache_read_tokens) == (10100, 1075, 6400)


def test_a_recording_that_breaks_off_anywhere_is_read_to_a_result(agent: Agent) -> None:
    lines = recording(agent)
    for whole, torn in enumerate(lines):
        reader, events = read(agent, *lines[:whole], torn[: len(torn) // 2])
        check_end(reader, events, None)
        assert reader.finished or reader.result(None).error


def test_lines_of_a_recording_torn_in_two_are_kept_as_they_are(agent: Agent) -> None:
    halves = [half for line in recording(agent) for half in (line[: len(line) // 3], line[len(line) // 3 :])]
    reader, events = read(agent, *halves)
    check_end(reader, events, 1)
    assert of(ToolCalled, events) == []


ODD_LINES = [
    "", " ", "not json", "[]", "7", "null", "NaN", "{", "{" * 5000, "[" * 100_000, '{"type": null}', '{"type": 7}',
    '{"type":"brand/new","x":1}', "\0", "\ufffd", "\ud83d", '{"type":"say","text":"\ud83d"}',
    # Claude Code
    '{"type":"assistant"}', '{"type":"assistant","message":{"content":7}}',
    '{"type":"assistant","message":{"content":[7, {"type":"tool_use","input":"x"}]}}',
    '{"type":"result","modelUsage":7,"usage":[],"total_cost_usd":"?"}', '{"type":"result","modelUsage":{"m":[1]}}',
    '{"type":"result","modelUsage":{"m":{"inputTokens":NaN}},"total_cost_usd":NaN}',
    '{"type":"result","is_error":true,"result":NaN,"api_error_status":1e400}',
    r'{"type":"assistant","message":{"content":[{"type":"text","text":"a\ud83d"}]}}',
    # Codex
    '{"type":"item.completed"}', '{"type":"item.completed","item":7}', '{"type":"item.started","item":{"type":"x"}}',
    '{"type":"item.completed","item":{"type":"command_execution","command":7,"exit_code":"x"}}',
    '{"type":"item.completed","item":{"type":"command_execution","command":"a \'b"}}',
    '{"type":"item.completed","item":{"type":"mcp_tool_call","arguments":[1]}}', '{"type":"turn.failed","error":[]}',
    '{"type":"turn.completed","usage":{"input_tokens":"many","output_tokens":-1,"cached_input_tokens":1e400}}',
    '{"type":"turn.completed","usage":{"input_tokens":NaN,"output_tokens":1e20}}',
    # Gemini CLI
    '{"type":"message","role":"assistant","content":7}', '{"type":"message"}', '{"type":"tool_use","parameters":[]}',
    '{"type":"tool_result","output":{"a":1}}', '{"type":"result","stats":[],"status":7,"error":"x"}',
    # opencode
    '{"type":"text","part":7}', '{"type":"tool_use","part":{"state":7}}', '{"type":"step_finish","part":{"tokens":[]}}',
    '{"type":"error","error":{"data":7}}', r'{"type":"text","part":{"text":"a\ud83d"}}',
    # Hermes
    '{"type":"post_api_request","usage":7,"content":[1]}', '{"type":"pre_tool_call","args":"x"}',
    '{"type":"post_tool_call","result":7}', '{"type":"api_request_error","error":"x","status_code":"y"}',
    '{"type":"on_session_end"}',
    # shell: lines with a valid signature, from a Python that is not the one it should be
    *(
        f"{blake2b(text.encode(), key=bytes.fromhex(KEY), digest_size=16).hexdigest()} {text}"
        for text in (
            "", "{", "7", '{"n":1}', '{"n":1,"begin":99}', '{"n":1,"begin":-1}', '{"n":1,"begin":true}',
            '{"n":1,"begin":1}', '{"n":0,"begin":1}', '{"n":1,"begin":1e400}',
            '{"n":NaN,"begin":1}', f'{{"n":1,"begin":{"9" * 5000}}}',
            '{"n":1,"end":1,"code":"x"}', f'{{"n":1,"end":1,"code":{"9" * 4000}}}',
            '{"n":1,"end":1,"code":-1,"text":[1],"more":-1}', '{"n":1,"out":1,"text":7}',
        )
    ),
    # numbers and depths that no field can hold
    *(
        line.replace("?", value)
        for value in ("9" * 400, "-" + "9" * 400, "1e999", "true", "-1", "[" * 90 + "]" * 90, '"x"', "NaN", "null")
        for line in (
            '{"type":"result","modelUsage":{"m":{"inputTokens":?}},"total_cost_usd":?,"api_error_status":?}',
            '{"type":"turn.completed","usage":{"input_tokens":?,"output_tokens":?,"cached_input_tokens":?}}',
            '{"type":"item.completed","item":{"type":"command_execution","command":"x","exit_code":?}}',
            '{"type":"result","status":"error","error":{"code":?,"message":?},"stats":{"input_tokens":?,"cached":?}}',
            '{"type":"step_finish","part":{"cost":?,"tokens":{"input":?,"output":?,"cache":{"read":?,"write":?}}}}',
            '{"type":"tool_use","part":{"tool":?,"callID":?,"state":{"status":"completed","metadata":{"exit":?}}}}',
            '{"type":"error","error":{"name":?,"data":{"statusCode":?,"message":?}}}',
            '{"type":"api_request_error","status_code":?,"error":?}', '{"type":"end","tokens":?}',
            '{"type":"post_api_request","usage":{"prompt_tokens":?}}',
        )
    ),
    # declared
    '{"type":"say"}', '{"type":"say","text":[NaN]}', '{"type":"end","tokens":NaN}', '{"type":"end","tokens":"x"}',
]  # fmt: skip


def check_end(reader: StreamReader, events: list[Event], exit_code: int | None) -> None:
    """Everything that was read can be recorded, and there is a result."""
    for event in [*events, *reader.rest()]:
        assert json.loads(Recorded(seq=1, ts="", event=event).line())
    assert list(reader.rest()) == []
    result = reader.result(exit_code)
    assert result.error is None or (isinstance(result.error, str) and result.error)
    assert isinstance(result.text, str)
    assert isinstance(reader.finished, bool)
    assert isinstance(reader.waits, bool)


@pytest.mark.parametrize("line", ODD_LINES, ids=range(len(ODD_LINES)))
def test_no_line_makes_a_reader_fail(agent: Agent, line: str) -> None:
    for exit_code in (0, 1, None):
        reader, events = read(agent, line)
        check_end(reader, events, exit_code)


def test_all_odd_lines_together_do_not_either(agent: Agent) -> None:
    reader, events = read(agent, *ODD_LINES, *reversed(ODD_LINES))
    check_end(reader, events, 1)


def test_a_record_nested_without_end_is_cut_and_recorded(agent: Agent) -> None:
    if agent.facts.runs_blocks:
        return  # its output is not records
    for line in [*(recording(agent) if agent.version else []), '{"type":"say","text":"x"}', '{"type":"new","x":1}']:
        reader, events = read(agent, line[:-1] + ',"deep":' + "[" * 700 + "]" * 700 + "}")
        check_end(reader, events, 0)
    assert "nested too deeply" in Recorded(seq=1, ts="", event=events[0]).line()


def test_an_unknown_record_is_kept_raw(agent: Agent) -> None:
    if agent.facts.runs_blocks:
        return  # its output is not records
    record = {"type": "brand_new", "value": [1]}
    assert read(agent, json.dumps(record))[1] == [AgentNotice(kind="brand_new", payload=record)]


@pytest.mark.parametrize("exit_code", [1, 139, None])
def test_no_output_is_a_crash(agent: Agent, exit_code: int | None) -> None:
    result = read(agent)[0].result(exit_code)
    assert result.error_kind == "crashed"
    how = "was ended" if exit_code is None or agent.facts.runs_blocks else f"exit code {exit_code}"
    assert how in str(result.error)


def test_a_stream_without_an_end_is_a_crash_with_its_last_line(agent: Agent) -> None:
    if agent.facts.runs_blocks:
        return  # what a block prints is the block's output
    reader, _ = read(agent, "Segmentation fault")
    result = reader.result(139)
    assert result.error_kind == "crashed"
    assert "139" in str(result.error)
    assert "Segmentation fault" in str(result.error)
    assert not reader.finished
