"""Agents: reading what Codex prints. Records as in field notes §5.2, seen with the pinned version."""

import shlex
from collections.abc import Iterator
from pathlib import PurePosixPath

from runbook_runner.agents.jsonl import Record, RecordReader, at, code_at, count_at, flattened, object_at, text_at
from runbook_runner.core.events import AgentMessage, AgentNotice, AgentThinking, Event, ToolCalled, ToolReturned, Usage


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
    """The command as the model wrote it: the record has it as the argument of a shell."""
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


def _usage(told: Record) -> Usage:
    """`input_tokens` counts both cache kinds, `output_tokens` the reasoning."""
    read, written = count_at(told, "cached_input_tokens"), count_at(told, "cache_write_input_tokens")
    return Usage(
        prompt_tokens=max(0, count_at(told, "input_tokens") - read - written),
        completion_tokens=count_at(told, "output_tokens"),
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=count_at(told, "reasoning_output_tokens"),
    )
