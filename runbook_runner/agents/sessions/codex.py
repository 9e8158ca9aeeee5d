"""Agents, sessions: Codex's, `sessions/YYYY/MM/DD/rollout-<time>-<id>.jsonl` (field notes §5.2)."""

import json
from collections.abc import Iterator
from typing import Any, Final

from runbook_runner.agents.built_in.codex import AGENT
from runbook_runner.agents.jsonl import count_at, flattened, list_at, object_at, text_at
from runbook_runner.agents.sessions.base import Facts, Form, Line, called
from runbook_runner.core.events import AgentMessage, AgentThinking, Event, ToolCalled, ToolReturned, Usage

_CODEX_KINDS: Final = (
    "session_meta",
    "turn_context",
    "response_item",
    "event_msg",
    "compacted",
    "token_usage_record",
    "world_state",
)


def _is_codex(line: Line) -> bool:
    return line["type"] in _CODEX_KINDS and isinstance(line.get("payload"), dict)


def _note_codex(line: Line, facts: Facts) -> None:
    payload = object_at(line, "payload")
    if line.get("type") == "session_meta":
        facts.session = facts.session or text_at(payload, "id")
        facts.version = facts.version or text_at(payload, "cli_version")
    facts.model = facts.model or text_at(payload, "model")
    if not facts.prompt and payload.get("type") == "message" and payload.get("role") == "user":
        text = _codex_text(payload)
        if not text.lstrip().startswith("<"):  # what the CLI says of the environment
            facts.prompt = text


def _codex_text(payload: Line) -> str:
    return "\n".join(text_at(part, "text") for part in list_at(payload, "content") if text_at(part, "text"))


class _Codex:
    def __init__(self) -> None:
        self._model = ""

    def __call__(self, line: Line) -> Iterator[Event]:
        payload = object_at(line, "payload")
        kind = text_at(payload, "type")
        if line.get("type") == "turn_context":
            self._model = text_at(payload, "model") or self._model
        elif line.get("type") == "event_msg" and kind == "token_count":
            usage = object_at(payload, "info", "last_token_usage")
            if usage:
                yield called(self._model, _codex_usage(usage))
        elif line.get("type") == "response_item":
            yield from _codex_item(kind, payload)


def _codex_item(kind: str, payload: Line) -> Iterator[Event]:
    call_id = text_at(payload, "call_id") or text_at(payload, "id")
    if kind == "message":
        role = text_at(payload, "role")
        known: Any = role if role in ("assistant", "user") else "system"
        yield AgentMessage(text=_codex_text(payload), role=known)
    elif kind == "reasoning":
        parts = [*list_at(payload, "summary"), *list_at(payload, "content")]
        if text := "\n".join(filter(None, (text_at(part, "text") for part in parts))):
            yield AgentThinking(text=text)
    elif kind in ("function_call", "custom_tool_call", "local_shell_call", "web_search_call"):
        name = text_at(payload, "name") or kind.removesuffix("_call")
        given = payload.get("arguments", payload.get("input", payload.get("action")))
        yield ToolCalled(call_id=call_id, name=name, input=_arguments(given))
    elif kind in ("function_call_output", "custom_tool_call_output", "local_shell_call_output"):
        output = payload.get("output")
        failed = isinstance(output, dict) and output.get("success") is False
        text = output if isinstance(output, str) else flattened(output) or text_at(payload, "output", "content")
        yield ToolReturned(call_id=call_id, output=text, is_error=failed)


def _arguments(given: Any) -> Line:
    if isinstance(given, str):
        try:
            read = json.loads(given)
        except (ValueError, RecursionError):
            read = None
        return read if isinstance(read, dict) else {"input": given}
    return given if isinstance(given, dict) else {}


def _codex_usage(usage: Line) -> Usage:
    read = count_at(usage, "cached_input_tokens")
    return Usage(
        prompt_tokens=max(0, count_at(usage, "input_tokens") - read),
        completion_tokens=count_at(usage, "output_tokens"),
        cache_read_tokens=read,
        reasoning_tokens=count_at(usage, "reasoning_output_tokens"),
        api_calls=1,
    )


FORM = Form(AGENT.name, _is_codex, _note_codex, _Codex)
