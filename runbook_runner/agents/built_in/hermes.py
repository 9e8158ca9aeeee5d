"""Agents: Hermes, headless. Configuration, hooks and traps as seen with the pinned version (field notes §5.5).

Its one-shot mode prints nothing but the last answer, so a plug-in (`hermes_plugin.py`, put into its home) prints what
its hooks report, one JSON object a line.
"""

import json
from collections.abc import Iterator
from importlib import resources
from typing import Any, Final

from runbook_runner.agents.base import GATEWAY_TOKEN, Agent, AgentInput, Invocation
from runbook_runner.agents.built_in import BUILT_IN_AGENTS
from runbook_runner.agents.install import pypi_package
from runbook_runner.agents.jsonl import Record, RecordReader, code_at, count_at, object_at, parse_record, text_at
from runbook_runner.agents.mcp import START_S, servers_by_name
from runbook_runner.agents.prompt import render_prompt
from runbook_runner.core import settings
from runbook_runner.core.events import AgentMessage, AgentNotice, AgentThinking, Event, ToolCalled, ToolReturned, Usage

VERSION = "0.19.0"
HOME = f"{settings.PRIVATE}/hermes"
PROMPT_FILE = f"{HOME}/prompt.md"
CONTEXT_TOKENS: Final = 200_000  # otherwise it asks six catalogues on the network, and waits for each
_MAX_ARGUMENT: Final = 100_000  # bytes; Linux allows 128 KiB


def invoke(agent_input: AgentInput) -> Invocation:
    prompt = render_prompt(agent_input)
    files = {
        f"{HOME}/config.yaml": json.dumps(_config(agent_input), indent=1).encode(),  # JSON is YAML
        f"{HOME}/plugins/runbook/plugin.yaml": b"name: runbook\nversion: '1'\n",
        f"{HOME}/plugins/runbook/__init__.py": _plugin(),
    }
    if len(prompt.encode()) > _MAX_ARGUMENT:
        files[PROMPT_FILE] = prompt.encode()
        where = agent_input.local(PROMPT_FILE)
        prompt = f"Read the whole file {where} now and carry it out, from its first step to its last."
    argv = ["hermes", "-z", prompt, "--yolo"]
    if agent_input.model:
        argv += ["--model", agent_input.model, "--provider", "gateway"]
    env = {"HERMES_HOME": agent_input.local(HOME), "TERMINAL_ENV": "local"}
    if agent_input.token:
        env[GATEWAY_TOKEN] = agent_input.token
    return Invocation(argv=tuple(argv), env=env, files=files)


def _plugin() -> bytes:
    return resources.files("runbook_runner.agents.built_in").joinpath("hermes_plugin.py").read_bytes()


def _config(agent_input: AgentInput) -> dict[str, Any]:
    config: dict[str, Any] = {
        "toolsets": ["hermes-cli"],
        "plugins": {"enabled": ["runbook"]},
        # What would outlive the run, or happen beside it, is of no use in a sandbox that is thrown away.
        "memory": {"memory_enabled": False, "user_profile_enabled": False, "nudge_interval": 0},
        "skills": {"creation_nudge_interval": 0},
        "curator": {"enabled": False},
        "model_catalog": {"enabled": False},
        "security": {"allow_lazy_installs": False},
        "terminal": {"backend": "local", "env_passthrough": list(agent_input.secret_names)},
        "mcp_servers": _servers(agent_input),
    }
    if agent_input.gateway_url and agent_input.model:
        limits = {"context_length": CONTEXT_TOKENS}
        config["model"] = {"default": agent_input.model, "provider": "gateway", **limits}
        config["providers"] = {
            "gateway": {
                "name": "gateway",
                "base_url": f"{agent_input.gateway_url}/v1",
                "key_env": GATEWAY_TOKEN,
                "api_mode": "chat_completions",
                "models": {agent_input.model: limits},
            }
        }
    return config


def _servers(agent_input: AgentInput) -> dict[str, dict[str, Any]]:
    """Hermes speaks the newer protocol to a remote server unless its entry names the transport."""
    entries = servers_by_name(agent_input.mcp_servers)
    servers = {name: {**entry, "connect_timeout": START_S} for name, entry in entries.items()}
    for server in agent_input.mcp_servers:
        if server.transport == "sse":
            servers[server.name]["transport"] = "sse"
    return servers


class Reader(RecordReader):
    """Reads what the plug-in prints."""

    def __init__(self) -> None:
        super().__init__("Hermes")
        self._session = ""
        self._delegation: str | None = None
        """The tool call that started the subagents which work now."""

    def read(self, kind: str, record: Record) -> Iterator[Event]:
        parent = self._parent(record)
        if kind == "post_api_request":
            self.error = None  # of an earlier try of this request
            self.usage = (self.usage or Usage()) + _usage(object_at(record, "usage"))
            yield from self._said(record, parent)
        elif kind == "pre_tool_call":
            yield self._called(record, parent)
        elif kind == "post_tool_call":
            yield self._returned(record, parent)
        else:
            self._note(kind, record, parent)
            yield AgentNotice(kind=kind, payload=record)

    def noise(self, line: str) -> Iterator[Event]:
        """Hermes ends by printing the answer, or why there is none; the hooks have reported both before."""
        if self.error is None and not self.finished:
            yield from super().noise(line)

    def _parent(self, record: Record) -> str | None:
        session = text_at(record, "session_id")
        self._session = self._session or session
        return self._delegation if session and session != self._session else None

    def _said(self, record: Record, parent: str | None) -> Iterator[Event]:
        thought, said = text_at(record, "reasoning"), text_at(record, "content")
        if thought:
            yield AgentThinking(text=thought, parent_call_id=parent)
        if said:
            self.text = self.text if parent else said
            yield AgentMessage(text=said, parent_call_id=parent)

    def _called(self, record: Record, parent: str | None) -> ToolCalled:
        call_id, name = text_at(record, "tool_call_id"), text_at(record, "tool_name")
        if name == "delegate_task" and parent is None:
            self._delegation = call_id
        return ToolCalled(call_id=call_id, name=name, input=object_at(record, "args"), parent_call_id=parent)

    def _returned(self, record: Record, parent: str | None) -> ToolReturned:
        raw = text_at(record, "result")
        result = parse_record(raw) or {}
        output = next((text_at(result, key) for key in ("output", "result") if key in result), raw)
        return ToolReturned(
            call_id=text_at(record, "tool_call_id"),
            output=output or text_at(result, "error"),
            is_error=text_at(record, "status") == "error",
            exit_code=code_at(result, "exit_code"),
            parent_call_id=parent,
        )

    def _note(self, kind: str, record: Record, parent: str | None) -> None:
        if kind == "api_request_error" and parent is None:
            self.fail(text_at(record, "error", "message"), code_at(record, "status_code"))
        elif kind == "on_session_end" and parent is None:
            self.finished = record.get("completed") is True


def _usage(reported: Record) -> Usage:
    return Usage(
        prompt_tokens=count_at(reported, "input_tokens"),
        completion_tokens=count_at(reported, "output_tokens"),
        cache_read_tokens=count_at(reported, "cache_read_tokens"),
        cache_write_tokens=count_at(reported, "cache_write_tokens"),
        reasoning_tokens=count_at(reported, "reasoning_tokens"),
    )


AGENT = Agent(
    facts=BUILT_IN_AGENTS["hermes"],
    binary="hermes",
    invoke=invoke,
    reader=lambda _: Reader(),
    version=VERSION,
    install=pypi_package("hermes-agent[mcp]", VERSION, "hermes"),
    session_db=f"{HOME}/state.db",
)
