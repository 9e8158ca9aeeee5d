"""Agents: reads the output of an agent that a file declares, by the file's rules or as plain text."""

from collections.abc import Iterator
from typing import Any

from runbook_runner.agents.base import Result
from runbook_runner.agents.declared.file import (
    ErrorRule,
    Events,
    MessageRule,
    Rule,
    ThinkingRule,
    ToolCallRule,
    ToolResultRule,
    UsageRule,
)
from runbook_runner.agents.failures import classify
from runbook_runner.agents.jsonl import Record, RecordReader, code_at, count_at, object_at, parse_record, text_at
from runbook_runner.core.events import AgentMessage, AgentNotice, AgentThinking, Event, ToolCalled, ToolReturned, Usage

Patterns = tuple[tuple[str, str], ...]

_MAX_KEPT = 1 << 20  # characters of a paragraph, and of the last one as the agent's answer


class TextReader:
    """A StreamReader for plain text: each paragraph is a message, the last one the agent's answer."""

    def __init__(self, name: str):
        self.finished = self.waits = False
        self._name = name
        self._lines: list[str] = []
        self._size = 0
        self._text = ""

    def feed(self, line: str) -> Iterator[Event]:
        if not line.strip():
            yield from self.rest()
        elif self._size < _MAX_KEPT:
            self._lines.append(line[: _MAX_KEPT - self._size])
            self._size += len(line)

    def rest(self) -> Iterator[Event]:
        if self._lines:
            self._text = "\n".join(self._lines)
            self._lines, self._size = [], 0
            yield AgentMessage(text=self._text)

    def result(self, exit_code: int | None) -> Result:
        if exit_code == 0:
            return Result(text=self._text)
        how = "was ended" if exit_code is None else f"ended with exit code {exit_code}"
        return Result(text=self._text, error=f"{self._name} {how}. {self._text}".strip(), error_kind="crashed")


class RuleReader(RecordReader):
    """A StreamReader for one JSON object a line; the file's rules say what a record means."""

    def __init__(self, name: str, events: Events, patterns: Patterns):
        super().__init__(name)
        self._events = events
        self._patterns = patterns
        self._has_final_record = any(rule.final for rule in events.records)

    def feed(self, line: str) -> Iterator[Event]:
        """As the base class does; the kind may stand anywhere in the record."""
        if not line.strip():
            return
        record = parse_record(line)
        if record is None:
            yield from self.noise(line)
        else:
            yield from self.read(_text(record, self._events.kind), record)

    def read(self, kind: str, record: Record) -> Iterator[Event]:
        rules = [rule for rule in self._events.records if _fits(rule, kind, record)]
        for rule in rules:
            self.finished = self.finished or rule.final
            yield from self._apply(rule, record)
        if not any(isinstance(rule, (MessageRule, ThinkingRule, ToolCallRule, ToolResultRule)) for rule in rules):
            yield AgentNotice(kind=kind or "record", payload=record)

    def _apply(self, rule: Rule, record: Record) -> Iterator[Event]:
        match rule:
            case MessageRule():
                yield self._message(rule, record)
            case ThinkingRule():
                yield AgentThinking(text=_text(record, rule.text))
            case ToolCallRule():
                yield _called(rule, record)
            case ToolResultRule():
                yield _returned(rule, record)
            case UsageRule():
                usage = _usage(rule, record)
                self.usage = (self.usage or Usage()) + usage if rule.sum else usage
            case ErrorRule():
                self._failed(rule, record)

    def _message(self, rule: MessageRule, record: Record) -> AgentMessage:
        text = _text(record, rule.text)
        self.text = text if rule.role == "assistant" else self.text
        return AgentMessage(text=text, role=rule.role)

    def _failed(self, rule: ErrorRule, record: Record) -> None:
        status = code_at({"status": _find(record, rule.status)}, "status") if rule.status else None
        text = _text(record, rule.text)
        self.fail(text, status)
        self._error_kind = classify(text, status, self._patterns) or self._error_kind

    def result(self, exit_code: int | None) -> Result:
        """An agent without a rule for a final record has finished when it exits with 0."""
        if exit_code == 0 and not self._has_final_record:
            self.finished = True
        return super().result(exit_code)


def _fits(rule: Rule, kind: str, record: Record) -> bool:
    if isinstance(rule.when, str):
        return rule.when == kind
    return all(_find(record, path) == value for path, value in rule.when.items())


def _called(rule: ToolCallRule, record: Record) -> ToolCalled:
    given = _find(record, rule.input) if rule.input else None
    given = parse_record(given) if isinstance(given, str) else given
    return ToolCalled(
        call_id=_text(record, rule.id), name=_text(record, rule.name), input=object_at({"input": given}, "input")
    )


def _returned(rule: ToolResultRule, record: Record) -> ToolReturned:
    code = code_at({"code": _find(record, rule.exit_code)}, "code") if rule.exit_code else None
    failed = _find(record, rule.is_error) if rule.is_error else code not in (None, 0)
    return ToolReturned(
        call_id=_text(record, rule.id),
        output=_text(record, rule.output),
        is_error=failed in (True, "error", "failed"),
        exit_code=code,
    )


def _usage(rule: UsageRule, record: Record) -> Usage:
    kinds = {"prompt": rule.prompt, "completion": rule.completion, "read": rule.cache_read, "write": rule.cache_write}
    counts = {kind: _find(record, path) if path else 0 for kind, path in kinds.items()}
    return Usage(
        prompt_tokens=count_at(counts, "prompt"),
        completion_tokens=count_at(counts, "completion"),
        cache_read_tokens=count_at(counts, "read"),
        cache_write_tokens=count_at(counts, "write"),
    )


def _text(record: Record, path: str) -> str:
    return text_at({"found": _find(record, path)}, "found")


def _find(found: Any, path: str) -> Any:
    for part in path.split("."):
        if isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        elif isinstance(found, dict):
            found = found.get(part)
        else:
            return None
    return found
