"""Agents, sessions: Claude Code's, `projects/<folder>/<session>.jsonl` (field notes §5.1)."""

from collections.abc import Iterator

from runbook_runner.agents.built_in.claude_code import AGENT
from runbook_runner.agents.built_in.claude_code import Reader as ClaudeReader
from runbook_runner.agents.jsonl import count_at, flattened, object_at, text_at
from runbook_runner.agents.sessions.base import Facts, Form, Line, called
from runbook_runner.core.events import AgentNotice, Event, ToolCalled, ToolReturned, Usage


def _is_claude(line: Line) -> bool:
    return isinstance(line.get("message"), dict) or any(key in line for key in ("sessionId", "session_id", "leafUuid"))


def _note_claude(line: Line, facts: Facts) -> None:
    facts.session = facts.session or text_at(line, "sessionId") or text_at(line, "session_id")
    facts.version = facts.version or text_at(line, "version") or text_at(line, "claude_code_version")
    model = text_at(line, "message", "model")
    if model and model != "<synthetic>":
        facts.model = facts.model or model
    if not facts.prompt and _is_prompt(line):
        content = object_at(line, "message").get("content")
        facts.prompt = content if isinstance(content, str) else flattened(content)


def _is_prompt(line: Line) -> bool:
    if line.get("type") != "user" or line.get("isMeta") or line.get("isSidechain") or line.get("parent_tool_use_id"):
        return False
    content = object_at(line, "message").get("content")
    kinds = {text_at(block, "type") for block in content} if isinstance(content, list) else {"text"}
    return kinds == {"text"}


class _Claude:
    """A message comes in several lines, each with one block and with the tokens until then."""

    def __init__(self) -> None:
        self._reader = ClaudeReader()
        self._message, self._model, self._usage = "", "", Usage()
        self._tasks: dict[str, None] = {}
        """Calls that may have started a subagent and have no answer, the latest last."""

    def __call__(self, line: Line) -> Iterator[Event]:
        kind = line.get("type")
        message = object_at(line, "message")
        message_id = text_at(message, "id")
        if self._message and (kind != "assistant" or message_id != self._message):
            yield called(self._model, self._usage)
            self._message = ""
        if kind not in ("assistant", "user") or line.get("isMeta") is True:
            return
        if kind == "assistant" and message_id and message.get("model") != "<synthetic>":
            self._message, self._model = message_id, text_at(message, "model")
            self._usage = _claude_usage(object_at(message, "usage"))
        if line.get("isSidechain") is True and not isinstance(line.get("parent_tool_use_id"), str):
            line = {
                **line,
                "parent_tool_use_id": next(reversed(self._tasks)) if self._tasks else text_at(line, "agentId") or "?",
            }
        for event in self._reader.read(str(kind), line):
            if isinstance(event, ToolCalled) and event.name in ("Task", "Agent"):
                self._tasks[event.call_id] = None
            elif isinstance(event, ToolReturned):
                self._tasks.pop(event.call_id, None)
            if not isinstance(event, AgentNotice):
                yield event


def _claude_usage(usage: Line) -> Usage:
    return Usage(
        prompt_tokens=count_at(usage, "input_tokens"),
        completion_tokens=count_at(usage, "output_tokens"),
        cache_read_tokens=count_at(usage, "cache_read_input_tokens"),
        cache_write_tokens=count_at(usage, "cache_creation_input_tokens"),
        api_calls=1,
    )


FORM = Form(AGENT.name, _is_claude, _note_claude, _Claude)
