"""Agents: reads a CLI's stream of JSON objects, one a line. No content of a line makes the reader fail."""

import json
from collections.abc import Iterator
from typing import Any

from runbook_runner.agents.base import Result
from runbook_runner.agents.failures import classify, plain_reason
from runbook_runner.core.events import AgentNotice, Event, Usage
from runbook_runner.core.formats.json_toml import plain_json
from runbook_runner.core.formats.numbers import amount, count

Record = dict[str, Any]

_MAX_NOISE = 2000


def parse_record(line: str) -> Record | None:
    """The object on the line, as `plain_json` makes it; `None` when the line is not an object."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    plain: Record = plain_json(record)
    return plain


def at(record: Any, *path: str) -> Any:
    """The value at the path of keys; `None` when a key on the path is missing."""
    for key in path:
        record = record.get(key) if isinstance(record, dict) else None
    return record


def text_at(record: Any, *path: str) -> str:
    """The text at the path; empty when nothing is there, JSON for any other value."""
    found = at(record, *path)
    if found is None:
        return ""
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)


def object_at(record: Any, *path: str) -> Record:
    found = at(record, *path)
    return found if isinstance(found, dict) else {}


def list_at(record: Any, *path: str) -> list[Any]:
    found = at(record, *path)
    return found if isinstance(found, list) else []


def count_at(record: Any, *path: str) -> int:
    """A number of tokens; 0 when nothing usable is there."""
    return count(at(record, *path))


def cost_at(record: Any, *path: str) -> float | None:
    """USD; `None` when nothing usable is there."""
    return amount(at(record, *path))


def code_at(record: Any, *path: str) -> int | None:
    """An exit code or an HTTP status; `None` when no usable whole number is there."""
    found = at(record, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) and abs(found) < 1 << 32 else None


def flattened(content: Any) -> str:
    """The content of a tool's result, which is text or a list of blocks, as text: an image becomes `[image]`."""
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    return "\n".join(str(block.get("text", f"[{block.get('type')}]")) for block in blocks if isinstance(block, dict))


class RecordReader:
    """Base of the StreamReaders for one JSON object a line; a subclass says in `read` what a record means."""

    def __init__(self, name: str):
        """name: the CLI's, for messages."""
        self.finished = self.waits = False
        self.text = ""
        """The agent's last message."""
        self.usage: Usage | None = None
        self.error: str | None = None
        self._error_kind = "agent_error"
        self._name = name
        self._noise = ""

    def feed(self, line: str) -> Iterator[Event]:
        if not line.strip():
            return
        record = parse_record(line)
        kind = record.get("type") if record else None
        if record is None or not isinstance(kind, str):
            yield from self.noise(line)
        else:
            yield from self.read(kind, record)

    def read(self, kind: str, record: Record) -> Iterator[Event]:
        """The record's events; here every record is unknown and becomes a notice."""
        yield AgentNotice(kind=kind, payload=record)

    def rest(self) -> Iterator[Event]:
        """No events, unless a subclass waits for more lines."""
        return iter(())

    def noise(self, line: str) -> Iterator[Event]:
        """A line that is not a record."""
        self._noise = line[:_MAX_NOISE]
        yield AgentNotice(kind="unreadable", payload=self._noise)

    def fail(self, error: str, status: int | None = None) -> None:
        """status: the HTTP status that came with the error."""
        self.error = plain_reason(error) or f"{self._name} reported an error without a reason."
        self._error_kind = classify(error, status) or "agent_error"

    def result(self, exit_code: int | None) -> Result:
        if self.error is not None:
            return Result(text=self.text, usage=self.usage, error=self.error, error_kind=self._error_kind)
        if not self.finished:
            return Result(text=self.text, usage=self.usage, error=self._missing_end(exit_code), error_kind="crashed")
        return Result(text=self.text, usage=self.usage)

    def _missing_end(self, exit_code: int | None) -> str:
        how = "was ended" if exit_code is None else f"ended with exit code {exit_code}"
        said = f" Its last output: {self._noise}" if self._noise else ""
        return f"{self._name} {how} without a final record.{said}"
