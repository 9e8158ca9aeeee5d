"""Agents: Codex, headless. Flags and configuration as seen with the pinned version (field notes §5.2)."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from runbook_runner.agents.base import GATEWAY_TOKEN, SILENCE_S, Agent, AgentInput, Invocation
from runbook_runner.agents.built_in import BUILT_IN_AGENTS
from runbook_runner.agents.install import npm_package
from runbook_runner.agents.jsonl import Record, RecordReader, at, code_at, count_at, flattened, object_at, text_at
from runbook_runner.agents.mcp import START_S, servers_by_name
from runbook_runner.agents.prompt import render_prompt
from runbook_runner.core import settings
from runbook_runner.core.declared import McpServer
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import AgentMessage, AgentNotice, AgentThinking, Event, ToolCalled, ToolReturned, Usage
from runbook_runner.core.text import encodable

VERSION = "0.169.0"
HOME = f"{settings.PRIVATE}/codex"
_SEARCHES = re.compile(r"(openai/)?(gpt-|o\d|codex)")


def invoke(agent_input: AgentInput) -> Invocation:
    # Its own sandbox does not work inside a container, and it runs in this program's sandbox.
    argv = ["codex", "exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
    if agent_input.model:
        argv += ["--model", agent_input.model]
    env = {"CODEX_HOME": agent_input.local(HOME)}
    if agent_input.token:
        env[GATEWAY_TOKEN] = agent_input.token
    return Invocation(
        argv=(*argv, "-"),
        env=env,
        stdin=render_prompt(agent_input).encode(),
        files={f"{HOME}/config.toml": dump_toml(_config(agent_input)).encode()},
    )


def _config(agent_input: AgentInput) -> dict[str, Any]:
    servers = servers_by_name(_servers(agent_input), headers="http_headers")
    config: dict[str, Any] = {
        "check_for_update_on_startup": False,
        "analytics": {"enabled": False},
        "feedback": {"enabled": False},
        "mcp_servers": {name: {**entry, **_start(agent_input.model)} for name, entry in servers.items()},
    }
    if agent_input.gateway_url:
        config["model_provider"] = "gateway"
        config["model_providers"] = {
            "gateway": {
                "name": "gateway",
                "base_url": f"{agent_input.gateway_url}/v1",
                "env_key": GATEWAY_TOKEN,
                "wire_api": "responses",
                "supports_websockets": False,  # otherwise it first tries a websocket seven times
                "request_max_retries": 0,  # each stream retry would retry that often again
                "stream_max_retries": 4,
                "stream_idle_timeout_ms": SILENCE_S * 1000,
            }
        }
    return config


def _start(model: str | None) -> dict[str, Any]:
    """A model of OpenAI's finds tools by a search, so that the CLI offers it the same without a server as with one and
    says nothing: such a run needs its servers."""
    return {"startup_timeout_sec": START_S} | ({"required": True} if _SEARCHES.match(model or "") else {})


def _servers(agent_input: AgentInput) -> tuple[McpServer, ...]:
    """Raises InputError for a server that speaks SSE: Codex would ignore it without a message."""
    for server in agent_input.mcp_servers:
        if server.transport == "sse":
            raise InputError(
                f"Codex can't use the MCP server {server.name}: it does not speak SSE.",
                hint="Use the server's http address if it has one (`transport: http`), or another --agent.",
            )
    return agent_input.mcp_servers


def dump_toml(config: Mapping[str, Any]) -> str:
    """One line per key; objects within are inline tables. Empty objects and `None` are left out."""
    return "".join(f"{_key(key)} = {_value(value)}\n" for key, value in config.items() if value not in (None, {}))


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):
        return _text(value)
    return json.dumps(value)


def _key(key: str) -> str:
    return key if key.isidentifier() and key.isascii() else _text(key)


def _text(text: str) -> str:
    """A JSON string is a TOML string, except that TOML wants DEL escaped and holds no surrogates."""
    return json.dumps(encodable(text), ensure_ascii=False).replace("\x7f", "\\u007f")


class Reader(RecordReader):
    """Reads `codex exec --json`."""

    def __init__(self) -> None:
        super().__init__("Codex")
        self._open: set[str] = set()

    def read(self, kind: str, record: Record) -> Iterator[Event]:
        if kind in ("item.started", "item.completed"):
            yield from self._item(object_at(record, "item"), done=kind == "item.completed")
            return
        if kind == "turn.completed":
            self.finished, self.usage = True, _usage(object_at(record, "usage"))
        elif kind == "turn.failed":
            self.finished = True
            self.fail(text_at(record, "error", "message"))
        yield AgentNotice(kind=kind, payload=record)

    def _item(self, item: Record, *, done: bool) -> Iterator[Event]:
        kind, text = text_at(item, "type"), text_at(item, "text")
        if kind == "agent_message" and done:
            self.text = text
            yield AgentMessage(text=text)
        elif kind == "reasoning" and done:
            yield AgentThinking(text=text)
        elif call := _call(kind, item):
            yield from self._tool(call, item, done=done)
        else:
            yield AgentNotice(kind=f"item/{kind}", payload=item)

    def _tool(self, call: ToolCalled, item: Record, *, done: bool) -> Iterator[Event]:
        if call.call_id not in self._open:
            self._open.add(call.call_id)
            yield call
        if done:
            yield ToolReturned(
                call_id=call.call_id,
                output=_output(item),
                is_error=text_at(item, "status") == "failed",
                exit_code=code_at(item, "exit_code"),
            )


def _call(kind: str, item: Record) -> ToolCalled | None:
    call_id = text_at(item, "id")
    if kind == "command_execution":
        return ToolCalled(call_id=call_id, name="shell", input={"command": _unwrapped(text_at(item, "command"))})
    if kind == "mcp_tool_call":
        name = f"mcp__{text_at(item, 'server')}__{text_at(item, 'tool')}"
        return ToolCalled(call_id=call_id, name=name, input=object_at(item, "arguments"))
    if kind in ("file_change", "web_search"):
        key = "changes" if kind == "file_change" else "query"
        return ToolCalled(call_id=call_id, name=kind, input={key: item.get(key)})
    return None


def _unwrapped(command: str) -> str:
    """The command as the model wrote it; the record holds it as the argument of a shell."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    shell = len(words) == 3 and words[1] in ("-c", "-lc") and PurePosixPath(words[0]).name in ("bash", "sh", "zsh")
    return words[2] if shell else command


def _output(item: Record) -> str:
    if "aggregated_output" in item:
        return text_at(item, "aggregated_output")
    return text_at(item, "error", "message") or flattened(at(item, "result", "content")) or text_at(item, "result")


def _usage(reported: Record) -> Usage:
    """`input_tokens` counts both cache kinds, `output_tokens` the reasoning."""
    read, written = count_at(reported, "cached_input_tokens"), count_at(reported, "cache_write_input_tokens")
    return Usage(
        prompt_tokens=max(0, count_at(reported, "input_tokens") - read - written),
        completion_tokens=count_at(reported, "output_tokens"),
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=count_at(reported, "reasoning_output_tokens"),
    )


AGENT = Agent(
    facts=BUILT_IN_AGENTS["codex"],
    binary="codex",
    invoke=invoke,
    reader=lambda _: Reader(),
    version=VERSION,
    install=npm_package("@openai/codex", VERSION, "codex"),
    sessions=f"{HOME}/sessions",
    volatile_output=(r"\A(?:Chunk ID: ([0-9a-f]{6})\n)?Wall time: (\d{1,9}\.\d{1,9}) seconds$",),
    errors=((r"required MCP servers failed to initialize", "mcp_server"),),
)
