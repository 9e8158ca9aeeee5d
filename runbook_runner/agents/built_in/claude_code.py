"""Agents: Claude Code, headless. Flags and traps as in field notes §5.1, seen with the pinned version."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from runbook_runner.agents.base import SILENCE_S, Agent, AgentInput, Invocation, Result
from runbook_runner.agents.built_in import BUILT_IN_AGENTS
from runbook_runner.agents.failures import classify
from runbook_runner.agents.install import npm_package
from runbook_runner.agents.jsonl import Record, RecordReader, cost_at, count_at, flattened, list_at, text_at
from runbook_runner.agents.mcp import START_S, servers_by_name
from runbook_runner.agents.prompt import render_prompt
from runbook_runner.core import settings
from runbook_runner.core.events import AgentMessage, AgentNotice, AgentThinking, Event, ToolCalled, ToolReturned, Usage

VERSION = "2.1.330"
CONFIG = f"{settings.PRIVATE}/claude"
MCP_FILE = f"{CONFIG}/mcp.json"

_TIERS = ("FABLE", "HAIKU", "OPUS", "SONNET")
"""What the CLI calls Claude's models, for its subagents and for side requests."""

# $1: the file with the MCP servers and their secrets. The CLI reads it once, as a pipe, before it calls a model; then
# neither the file nor a descriptor shows it to what the agent runs.
_READ_ONCE = """\
servers=$(cat "$1") && rm -f "$1" || exit 126
shift
exec 4<&0
printf '%s' "$servers" | { unset servers; exec "$@" 3<&0 <&4 4<&-; }
"""


def invoke(agent_input: AgentInput) -> Invocation:
    argv = ["claude", "-p", "--output-format", "stream-json", "--verbose", "--permission-mode", "bypassPermissions"]
    # Strict: no servers but the runbook's.
    argv += ["--strict-mcp-config", "--mcp-config", "/dev/fd/3"]
    if agent_input.model:
        argv += ["--model", agent_input.model]
    return Invocation(
        argv=("sh", "-c", _READ_ONCE, "sh", agent_input.local(MCP_FILE), *argv),
        env=_environment(agent_input),
        stdin=render_prompt(agent_input).encode(),
        files={MCP_FILE: json.dumps({"mcpServers": _mcp_servers(agent_input)}).encode()},
    )


def _mcp_servers(agent_input: AgentInput) -> dict[str, Any]:
    kinds = {server.name: server.transport for server in agent_input.mcp_servers}
    return {name: {"type": kinds[name], **entry} for name, entry in servers_by_name(agent_input.mcp_servers).items()}


def _environment(agent_input: AgentInput) -> dict[str, str]:
    env = {
        "IS_SANDBOX": "1",  # otherwise it refuses to work unattended as root
        "CLAUDE_CONFIG_DIR": agent_input.local(CONFIG),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "4",  # by default it tries an unreachable endpoint ten times, for most of a minute
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "API_TIMEOUT_MS": str(SILENCE_S * 1000),
        "MCP_TIMEOUT": str(START_S * 1000),
    }
    if agent_input.gateway_url:
        env["ANTHROPIC_BASE_URL"] = agent_input.gateway_url
    if agent_input.token:
        env["ANTHROPIC_AUTH_TOKEN"] = agent_input.token
    model = agent_input.model or ""
    if model and not any(name in model.upper() for name in ("CLAUDE", *_TIERS)):
        env |= {f"ANTHROPIC_DEFAULT_{tier}_MODEL": model for tier in _TIERS}  # whoever serves it may have no Claude
    return env


class Reader(RecordReader):
    """Reads `--output-format stream-json`."""

    def __init__(self) -> None:
        super().__init__("Claude Code")
        self._final: Record = {}
        self._servers_down: tuple[str, ...] = ()
        self._tasks: list[Any] = []
        """The CLI's background tasks. After its result it stays until they have ended, and works on when one ends."""

    def read(self, kind: str, record: Record) -> Iterator[Event]:
        yield from self._read(kind, record)
        self.finished, self.waits = bool(self._final and not self._tasks), bool(self._final and self._tasks)

    def _read(self, kind: str, record: Record) -> Iterator[Event]:
        if kind in ("assistant", "user"):
            yield from self._message(kind, record)
        elif kind == "result":
            self._final = record
            yield AgentNotice(kind="result", payload=record)
        else:
            subtype = record.get("subtype")
            if subtype == "init":
                self._final = {}
                servers = list_at(record, "mcp_servers")
                down = (server for server in servers if text_at(server, "status") != "connected")
                self._servers_down = tuple(text_at(server, "name") for server in down)
            elif subtype == "background_tasks_changed":
                self._tasks = list_at(record, "tasks")
            yield AgentNotice(kind=f"{kind}/{subtype}" if subtype else kind, payload=record)

    def _message(self, role: str, record: dict[str, Any]) -> Iterator[Event]:
        message = record.get("message")
        if isinstance(message, dict) and message.get("model") == "<synthetic>":  # the CLI's own words on a failure
            yield AgentNotice(kind=f"{role}/synthetic", payload=record)
            return
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        parent = record.get("parent_tool_use_id")
        parent = parent if isinstance(parent, str) else None
        for block in content if isinstance(content, list) else []:
            if isinstance(block, dict):
                yield self._block(role, block, parent)

    def _block(self, role: str, block: dict[str, Any], parent: str | None) -> Event:
        kind = block.get("type")
        if kind == "text":
            text = str(block.get("text", ""))
            if role == "assistant" and parent is None:
                self.text = text
            return AgentMessage(text=text, role="assistant" if role == "assistant" else "user", parent_call_id=parent)
        if kind == "thinking":
            return AgentThinking(text=str(block.get("thinking", "")), parent_call_id=parent)
        if kind == "tool_use" and isinstance(block.get("input"), dict):
            name, call_id = str(block.get("name", "")), str(block.get("id", ""))
            return ToolCalled(call_id=call_id, name=name, input=block["input"], parent_call_id=parent)
        if kind == "tool_result":
            return ToolReturned(
                call_id=str(block.get("tool_use_id", "")),
                output=flattened(block.get("content")),
                is_error=block.get("is_error") is True,
                parent_call_id=parent,
            )
        return AgentNotice(kind=f"{role}/{kind}", payload=block)

    def result(self, exit_code: int | None) -> Result:
        return replace(self._end(exit_code), servers_down=self._servers_down)

    def _end(self, exit_code: int | None) -> Result:
        final = self._final
        if not final:
            return super().result(exit_code)
        text = final.get("result")
        text = text if isinstance(text, str) else self.text
        if final.get("is_error") is not True and final.get("subtype") in ("success", None):
            return Result(text=text, usage=_usage(final))
        reason = _reason(final, text)
        return Result(text=text, usage=_usage(final), error=reason, error_kind=_error_kind(final, reason))


def _reason(final: dict[str, Any], text: str) -> str:
    subtype = final.get("subtype")
    return text or (f"Claude Code stopped: {subtype}" if subtype else "Claude Code reported an error without a reason.")


def _error_kind(final: dict[str, Any], reason: str) -> str:
    status = final.get("api_error_status")
    kind = classify(reason, status if isinstance(status, int) else None)
    if kind is None and final.get("terminal_reason") == "api_error":
        return "network"
    return kind or str(final.get("subtype") or "agent_error")


def _usage(final: dict[str, Any]) -> Usage | None:
    """Sum over models: this includes subagents, which `usage` beside it does not."""
    models = final.get("modelUsage")
    if not isinstance(models, dict):
        return None
    total = Usage()
    for used in models.values():
        total += Usage(
            prompt_tokens=count_at(used, "inputTokens"),
            completion_tokens=count_at(used, "outputTokens"),
            cache_read_tokens=count_at(used, "cacheReadInputTokens"),
            cache_write_tokens=count_at(used, "cacheCreationInputTokens"),
        )
    return total.model_copy(update={"cost_usd": cost_at(final, "total_cost_usd")})


AGENT = Agent(
    facts=BUILT_IN_AGENTS["claude-code"],
    binary="claude",
    invoke=invoke,
    reader=lambda _: Reader(),
    version=VERSION,
    install=npm_package("@anthropic-ai/claude-code", VERSION, "claude", finish="install.cjs"),
    sessions=f"{CONFIG}/projects",
)
