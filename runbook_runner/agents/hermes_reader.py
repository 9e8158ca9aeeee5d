"""Agents: reading what Hermes tells through `hermes_plugin.py`."""

from collections.abc import Iterator

from runbook_runner.agents.jsonl import Record, RecordReader, code_at, count_at, object_at, parse_record, text_at
from runbook_runner.core.events import AgentMessage, AgentNotice, AgentThinking, Event, ToolCalled, ToolReturned, Usage


class Reader(RecordReader):
    def __init__(self) -> None:
        super().__init__("Hermes")
        self._session = ""
        self._delegation: str | None = None
        """The call that the subagents of now were started by."""

    def read(self, kind: str, record: Record) -> Iterator[Event]:
        parent = self._parent(record)
        if kind == "post_api_request":
            self.error = None  # an earlier attempt's
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
        """After its last hook it prints the answer, which has been told, or why there is none."""
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
        told = parse_record(raw) or {}
        output = next((text_at(told, key) for key in ("output", "result") if key in told), raw)
        return ToolReturned(
            call_id=text_at(record, "tool_call_id"),
            output=output or text_at(told, "error"),
            is_error=text_at(record, "status") == "error",
            exit_code=code_at(told, "exit_code"),
            parent_call_id=parent,
        )

    def _note(self, kind: str, record: Record, parent: str | None) -> None:
        if kind == "api_request_error" and parent is None:
            self.fail(text_at(record, "error", "message"), code_at(record, "status_code"))
        elif kind == "on_session_end" and parent is None:
            self.finished = record.get("completed") is True


def _usage(told: Record) -> Usage:
    return Usage(
        prompt_tokens=count_at(told, "input_tokens"),
        completion_tokens=count_at(told, "output_tokens"),
        cache_read_tokens=count_at(told, "cache_read_tokens"),
        cache_write_tokens=count_at(told, "cache_write_tokens"),
        reasoning_tokens=count_at(told, "reasoning_tokens"),
    )
