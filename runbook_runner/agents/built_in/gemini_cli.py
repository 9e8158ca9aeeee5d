"""Agents: Gemini CLI, headless. Settings and records as seen with the pinned version (field notes §5.3)."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from runbook_runner.agents.base import SILENCE_S, Agent, AgentInput, Invocation
from runbook_runner.agents.built_in import BUILT_IN_AGENTS
from runbook_runner.agents.install import npm_package
from runbook_runner.agents.jsonl import Record, RecordReader, count_at, list_at, object_at, parse_record, text_at
from runbook_runner.agents.mcp import START_S, servers_by_name
from runbook_runner.agents.prompt import render_prompt
from runbook_runner.core import settings
from runbook_runner.core.events import AgentMessage, AgentNotice, Event, ToolCalled, ToolReturned, Usage

VERSION = "0.61.0"
HOME = f"{settings.PRIVATE}/gemini"
EXPERIMENTS = f"{HOME}/experiments.json"
_REQUEST_TIMEOUT = 45773134  # the only way to change the 60 s in which an answer must begin


_EXIT_CODE = re.compile(r"^Exit Code: (\d+)$", re.MULTILINE)


def invoke(agent_input: AgentInput) -> Invocation:
    argv = ["gemini", "--yolo", "--output-format", "stream-json"]
    if agent_input.model:
        argv += ["--model", agent_input.model]
    return Invocation(
        argv=tuple(argv),
        env=_environment(agent_input),
        stdin=render_prompt(agent_input).encode(),
        files={
            f"{HOME}/.gemini/settings.json": json.dumps(_settings(agent_input)).encode(),
            EXPERIMENTS: json.dumps({"flags": [{"flagId": _REQUEST_TIMEOUT, "intValue": str(SILENCE_S)}]}).encode(),
        },
    )


def _environment(agent_input: AgentInput) -> dict[str, str]:
    env = {
        "GEMINI_CLI_HOME": agent_input.local(HOME),
        "GEMINI_CLI_TRUST_WORKSPACE": "true",  # otherwise it ignores --yolo
        "GEMINI_EXP": agent_input.local(EXPERIMENTS),
        "GEMINI_SANDBOX": "false",
        "GEMINI_TELEMETRY_ENABLED": "false",
    }
    if agent_input.gateway_url:
        env["GOOGLE_GEMINI_BASE_URL"] = agent_input.gateway_url
    if agent_input.token:
        env["GEMINI_API_KEY"] = agent_input.token
    return env


def _settings(agent_input: AgentInput) -> dict[str, Any]:
    # One limit for the start and for each call, ten minutes by default.
    more = {"trust": True, "timeout": 2 * START_S * 1000}
    servers = {name: {**entry, **more} for name, entry in _servers(agent_input).items()}
    return {
        "security": {"auth": {"selectedType": "gemini-api-key"}},  # it does not guess when it has a base URL
        # By its own default it tries ten times, for four minutes, when the provider refuses.
        "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False, "maxAttempts": 5},
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False},
        "context": {"includeDirectoryTree": False},
        "mcpServers": servers,
    }


def _servers(agent_input: AgentInput) -> dict[str, dict[str, Any]]:
    """The CLI tells the two kinds of remote server apart by the key of the address: `httpUrl` or `url`."""
    streaming = [server for server in agent_input.mcp_servers if server.transport == "sse"]
    others = [server for server in agent_input.mcp_servers if server.transport != "sse"]
    return {**servers_by_name(others, url="httpUrl"), **servers_by_name(streaming)}


def logged(line: str) -> str:
    """Not the pieces of a message, for the halves of a secret would stay there; the whole message is an event."""
    return "" if (parse_record(line) or {}).get("delta") is True else f"{line}\n"


def failed_calls(contents: Sequence[Any]) -> Iterator[str]:
    """For its stream a command that ran is a success, whatever its exit code; what the model gets names the code."""
    for content in contents:
        for piece in list_at(content, "parts"):
            answer = object_at(piece, "functionResponse")
            codes = _EXIT_CODE.findall(text_at(answer, "response", "output"))
            if codes and codes[-1] != "0":
                yield f"{text_at(answer, 'name')}__{text_at(answer, 'id')}"  # as its stream spells the id


class Reader(RecordReader):
    """Reads `--output-format stream-json`."""

    def __init__(self) -> None:
        super().__init__("Gemini CLI")
        self._pieces: list[str] = []

    def read(self, kind: str, record: Record) -> Iterator[Event]:
        if kind == "message" and text_at(record, "role") == "assistant":
            self._pieces.append(text_at(record, "content"))
            self.text = "".join(self._pieces)
            return
        yield from self.rest()
        if kind == "message":
            yield AgentMessage(text=text_at(record, "content"), role="user")
        elif kind == "tool_use":
            name, call_id = text_at(record, "tool_name"), text_at(record, "tool_id")
            yield ToolCalled(call_id=call_id, name=name, input=object_at(record, "parameters"))
        elif kind == "tool_result":
            output = text_at(record, "output") or text_at(record, "error", "message")
            failed = text_at(record, "status") == "error"
            yield ToolReturned(call_id=text_at(record, "tool_id"), output=output, is_error=failed)
        else:
            self._note(kind, record)
            yield AgentNotice(kind=kind, payload=record)

    def rest(self) -> Iterator[Event]:
        """The CLI streams a message in pieces; the next record of another kind shows that the message is whole."""
        if self._pieces:
            yield AgentMessage(text="".join(self._pieces))
            self._pieces.clear()

    def _note(self, kind: str, record: Record) -> None:
        if kind != "result":
            return
        self.finished, self.usage = True, _usage(object_at(record, "stats"))
        if text_at(record, "status") != "success":
            self.fail(text_at(record, "error", "message"))


def _usage(stats: Record) -> Usage:
    """`input` counts the tokens that were not cached; only the total includes the reasoning."""
    spent = count_at(stats, "total_tokens") - count_at(stats, "input_tokens")
    return Usage(
        prompt_tokens=count_at(stats, "input"),
        completion_tokens=max(spent, count_at(stats, "output_tokens")),
        cache_read_tokens=count_at(stats, "cached"),
    )


AGENT = Agent(
    facts=BUILT_IN_AGENTS["gemini-cli"],
    binary="gemini",
    invoke=invoke,
    reader=lambda _: Reader(),
    logged=logged,
    failed_calls=failed_calls,
    # Of a command that has ended, so that the group is gone: what it left running has a line of its own.
    volatile_output=(r"^Process Group PGID: (\d{1,10})(?:\n</untrusted_context>)?\Z",),
    version=VERSION,
    # Its optional packages (a keychain, a terminal) are of no use to a process that has neither.
    install=npm_package("@google/gemini-cli", VERSION, "gemini", options="--omit=optional"),
    sessions=f"{HOME}/.gemini/tmp",
)
