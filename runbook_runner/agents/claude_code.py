"""Agents: Claude Code, headless. Flags, records and traps as in field notes §5.1, seen with the pinned version."""

from collections.abc import Iterator
from typing import Any

from runbook_runner import settings
from runbook_runner.agents import Agent, Assignment, Invocation, Result
from runbook_runner.agents.jsonl import parse_record
from runbook_runner.agents.prompt import render_prompt
from runbook_runner.events import AgentMessage, AgentNotice, AgentThinking, Event, ToolCalled, ToolReturned, Usage

VERSION = "2.1.330"
PACKAGE = f"@anthropic-ai/claude-code@{VERSION}"
CONFIG = f"{settings.PRIVATE}/claude"

# npm no longer runs install scripts unasked; this one puts the native binary in place, so it is run by hand.
INSTALL = f"""\
RUN npm install --global --no-fund --no-audit {PACKAGE} \\
 && node "$(npm root -g)/@anthropic-ai/claude-code/install.cjs" \\
 && npm cache clean --force >/dev/null 2>&1 \\
 && claude --version
"""

_ERROR_KINDS = {
    401: "authentication",
    403: "authentication",
    404: "model_not_found",
    429: "rate_limit",
    529: "overloaded",
}


def invoke(assignment: Assignment) -> Invocation:
    argv = ["claude", "-p", "--output-format", "stream-json", "--verbose", "--permission-mode", "bypassPermissions"]
    if assignment.model:
        argv += ["--model", assignment.model]
    return Invocation(argv=tuple(argv), env=_environment(assignment), stdin=render_prompt(assignment).encode())


def _environment(assignment: Assignment) -> dict[str, str]:
    env = {
        "IS_SANDBOX": "1",  # otherwise it refuses to work unattended as root
        "CLAUDE_CONFIG_DIR": CONFIG.replace(settings.APP, assignment.app, 1),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "4",  # its own ten keep a dead endpoint waiting for most of a minute
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
    }
    if assignment.gateway_url:
        env["ANTHROPIC_BASE_URL"] = assignment.gateway_url
    if assignment.token:
        env["ANTHROPIC_AUTH_TOKEN"] = assignment.token
    return env


class Reader:
    """Reads `--output-format stream-json`."""

    def __init__(self) -> None:
        self.finished = False
        self._final: dict[str, Any] = {}
        self._last_text = ""
        self._noise: list[str] = []

    def feed(self, line: str) -> Iterator[Event]:
        if not line.strip():
            return
        record = parse_record(line)
        kind = record.get("type") if record else None
        if record is None or not isinstance(kind, str):
            self._noise.append(line[:500])
            yield AgentNotice(kind="unreadable", payload=line[:2000])
            return
        if kind in ("assistant", "user"):
            yield from self._message(kind, record)
        elif kind == "result":
            self._final, self.finished = record, True
            yield AgentNotice(kind="result", payload=record)
        else:
            subtype = record.get("subtype")
            yield AgentNotice(kind=f"{kind}/{subtype}" if subtype else kind, payload=record)

    def _message(self, role: str, record: dict[str, Any]) -> Iterator[Event]:
        message = record.get("message")
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
                self._last_text = text
            return AgentMessage(text=text, role="assistant" if role == "assistant" else "user", parent_call_id=parent)
        if kind == "thinking":
            return AgentThinking(text=str(block.get("thinking", "")), parent_call_id=parent)
        if kind == "tool_use" and isinstance(block.get("input"), dict):
            name, call_id = str(block.get("name", "")), str(block.get("id", ""))
            return ToolCalled(call_id=call_id, name=name, input=block["input"], parent_call_id=parent)
        if kind == "tool_result":
            return ToolReturned(
                call_id=str(block.get("tool_use_id", "")),
                output=_flatten(block.get("content")),
                is_error=block.get("is_error") is True,
                parent_call_id=parent,
            )
        return AgentNotice(kind=f"{role}/{kind}", payload=block)

    def result(self, exit_code: int | None) -> Result:
        final = self._final
        text = final.get("result")
        text = text if isinstance(text, str) else self._last_text
        if not final:
            return Result(text=text, error=self._missing_final(exit_code), error_kind="crashed")
        failed = final.get("is_error") is True or final.get("subtype") not in ("success", None)
        return Result(
            text=text,
            usage=_usage(final),
            error=_reason(final, text) if failed else None,
            error_kind=_error_kind(final) if failed else None,
        )

    def _missing_final(self, exit_code: int | None) -> str:
        how = "was ended" if exit_code is None else f"ended with exit code {exit_code}"
        said = f" Its last output: {self._noise[-1]}" if self._noise else ""
        return f"Claude Code {how} without a final record.{said}"


def _reason(final: dict[str, Any], text: str) -> str:
    subtype = final.get("subtype")
    return text or (f"Claude Code stopped: {subtype}" if subtype else "Claude Code reported an error without a reason.")


def _error_kind(final: dict[str, Any]) -> str:
    status = final.get("api_error_status")
    if isinstance(status, int):
        return _ERROR_KINDS.get(status, "provider_error" if status >= 500 else "request_refused")
    if final.get("terminal_reason") == "api_error":
        return "network"
    return str(final.get("subtype") or "agent_error")


def _flatten(content: Any) -> str:
    """A tool result is a string or a list of blocks; images become a mark."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [str(b.get("text", f"[{b.get('type')}]")) for b in content if isinstance(b, dict)]
    return "\n".join(parts)


def _usage(final: dict[str, Any]) -> Usage | None:
    """Sum over models: this includes subagents, which `usage` beside it does not."""
    models = final.get("modelUsage")
    if not isinstance(models, dict):
        return None
    total = Usage()
    for used in models.values():
        total += Usage(
            prompt_tokens=_number(used, "inputTokens"),
            completion_tokens=_number(used, "outputTokens"),
            cache_read_tokens=_number(used, "cacheReadInputTokens"),
            cache_write_tokens=_number(used, "cacheCreationInputTokens"),
        )
    cost = final.get("total_cost_usd")
    return total.model_copy(update={"cost_usd": float(cost) if isinstance(cost, (int, float)) else None})


def _number(used: Any, key: str) -> int:
    value = used.get(key) if isinstance(used, dict) else None
    return int(value) if isinstance(value, (int, float)) else 0


AGENT = Agent(
    name="claude-code",
    binary="claude",
    invoke=invoke,
    reader=lambda _: Reader(),
    version=VERSION,
    dialect="anthropic",
    install=INSTALL,
    install_hint=f"npm install --global {PACKAGE}",
    sessions=f"{CONFIG}/projects",
)
