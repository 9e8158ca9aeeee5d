"""Agents: opencode, headless. Configuration and records as seen with the pinned version (field notes §5.4)."""

import json
from collections.abc import Iterator
from typing import Any

from runbook_runner.agents.base import GATEWAY_TOKEN, SILENCE_S, Agent, AgentInput, Invocation
from runbook_runner.agents.built_in import BUILT_IN_AGENTS
from runbook_runner.agents.install import npm_package
from runbook_runner.agents.jsonl import Record, RecordReader, code_at, count_at, object_at, text_at
from runbook_runner.agents.mcp import START_S
from runbook_runner.agents.prompt import render_prompt
from runbook_runner.core import settings
from runbook_runner.core.declared import McpServer
from runbook_runner.core.events import AgentMessage, AgentNotice, AgentThinking, Event, ToolCalled, ToolReturned, Usage

VERSION = "1.18.33"
HOME = f"{settings.PRIVATE}/opencode"


def invoke(agent_input: AgentInput) -> Invocation:
    # Without a title it would ask the model for one.
    argv = ["opencode", "run", "--format", "json", "--thinking", "--auto", "--title", "runbook"]
    if agent_input.model:
        argv += ["--model", f"gateway/{agent_input.model}"]
    return Invocation(
        argv=tuple(argv),
        env=_environment(agent_input),
        stdin=render_prompt(agent_input).encode(),
        files={f"{HOME}/opencode.json": json.dumps(_config(agent_input)).encode()},
    )


def _environment(agent_input: AgentInput) -> dict[str, str]:
    home = agent_input.local(HOME)
    env = {f"XDG_{name.upper()}_HOME": f"{home}/{name}" for name in ("data", "config", "state", "cache")}
    env |= {
        "OPENCODE_CONFIG": f"{home}/opencode.json",
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
    }
    return env | ({GATEWAY_TOKEN: agent_input.token} if agent_input.token else {})


def _config(agent_input: AgentInput) -> dict[str, Any]:
    config: dict[str, Any] = {
        "autoupdate": False,
        "share": "disabled",
        "snapshot": False,
        "permission": "allow",
        "mcp": {server.name: _server(server) for server in agent_input.mcp_servers},
    }
    if agent_input.gateway_url and agent_input.model:
        options = {
            "baseURL": f"{agent_input.gateway_url}/v1",
            "apiKey": f"{{env:{GATEWAY_TOKEN}}}",
            "headerTimeout": SILENCE_S * 1000,
            "chunkTimeout": SILENCE_S * 1000,
        }
        provider = {"npm": "@ai-sdk/openai-compatible", "options": options, "models": {agent_input.model: {}}}
        config |= {"enabled_providers": ["gateway"], "provider": {"gateway": provider}}
    return config


def _server(server: McpServer) -> dict[str, Any]:
    timeout = START_S * 1000
    if server.command:
        command, env = [server.command, *server.args], dict(server.env)
        return {"type": "local", "command": command, "environment": env, "timeout": timeout}
    return {"type": "remote", "url": server.url, "headers": dict(server.headers), "timeout": timeout}


class Reader(RecordReader):
    """Reads `opencode run --format json`, which has no final record: the step that calls no tool is the last."""

    def __init__(self) -> None:
        super().__init__("opencode")

    def read(self, kind: str, record: Record) -> Iterator[Event]:
        part = object_at(record, "part")
        if kind == "text":
            self.text = text_at(part, "text")
            yield AgentMessage(text=self.text)
        elif kind == "reasoning":
            yield AgentThinking(text=text_at(part, "text"))
        elif kind == "tool_use":
            yield from _tool(part)
        else:
            self._note(kind, record, part)
            yield AgentNotice(kind=kind, payload=record)

    def _note(self, kind: str, record: Record, part: Record) -> None:
        if kind == "step_start":
            self.finished = False
        elif kind == "step_finish":
            self.finished = text_at(part, "reason") != "tool-calls"
            self.usage = (self.usage or Usage()) + _usage(object_at(part, "tokens"))
        elif kind == "error":
            self.finished = True
            error = object_at(record, "error")
            self.fail(text_at(error, "data", "message") or text_at(error, "name"), code_at(error, "data", "statusCode"))


def _tool(part: Record) -> Iterator[Event]:
    """opencode reports a tool call when the tool has returned."""
    call_id, state = text_at(part, "callID"), object_at(part, "state")
    failed = text_at(state, "status") == "error"
    yield ToolCalled(call_id=call_id, name=text_at(part, "tool"), input=object_at(state, "input"))
    yield ToolReturned(
        call_id=call_id,
        output=text_at(state, "error" if failed else "output"),
        is_error=failed,
        exit_code=code_at(state, "metadata", "exit"),
    )


def _usage(tokens: Record) -> Usage:
    return Usage(
        prompt_tokens=count_at(tokens, "input"),
        completion_tokens=count_at(tokens, "output") + count_at(tokens, "reasoning"),
        cache_read_tokens=count_at(tokens, "cache", "read"),
        cache_write_tokens=count_at(tokens, "cache", "write"),
        reasoning_tokens=count_at(tokens, "reasoning"),
    )


AGENT = Agent(
    facts=BUILT_IN_AGENTS["opencode"],
    binary="opencode",
    invoke=invoke,
    reader=lambda _: Reader(),
    version=VERSION,
    install=npm_package("opencode-ai", VERSION, "opencode", finish="postinstall.mjs"),
    session_db=f"{HOME}/data/opencode/opencode.db",
)
