"""Trajectory: a run as OpenTelemetry spans by the conventions for generative AI (field notes §4.2), which are still in
development: every name of theirs is in this module.

A run is `invoke_workflow`, its agent `invoke_agent`, a tool call `execute_tool`, a model call `chat`. What was said,
asked and answered is left out unless it is asked for. Ids follow from the run: exported twice, it is the same trace."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, Any, Final

from runbook_runner import __version__
from runbook_runner.core.clock import moment
from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.events import (
    AgentFinished,
    AgentMessage,
    AgentStarted,
    Evaluated,
    ModelCalled,
    Recorded,
    RunFinished,
    RunStarted,
    ToolCalled,
    ToolReturned,
    Usage,
)

_BATCH: Final = 500
_MOST_OPEN: Final = 10_000
_MOST_CONTENT: Final = 64_000
"""Characters of one text."""

_Attributes = dict[str, Any]


class _Span:
    def __init__(self, name: str, number: int, start: int, kind: str, parent: "_Span | None", attributes: _Attributes):
        self.name, self.number, self.start, self.kind, self.parent = name, number, start, kind, parent
        self.attributes = attributes
        self.error: str | None = None


class _Spans:
    """Turns the events of one run into spans that are over."""

    def __init__(self, *, content: bool):
        self._content = content
        self._run: _Span | None = None
        self._agent: _Span | None = None
        self._open: dict[str, _Span] = {}
        """Tool calls without an answer, by their ids."""
        self._conversation = ""
        self._provider = "unknown"
        self._usage = Usage()
        self._last = 0

    def of(self, recorded: Recorded) -> Iterator[tuple[_Span, int]]:
        """The spans that this event ends, with their ends."""
        event, now = recorded.event, _nanoseconds(recorded.ts)
        self._last = max(self._last, now)
        if isinstance(event, RunStarted) and self._run is None:
            self._run = self._began(event, recorded.seq, now)
        elif isinstance(event, AgentStarted):
            yield from self._agent_ended(now)
            self._agent = self._agent_began(event, recorded.seq, now)
        elif isinstance(event, ToolCalled):
            if len(self._open) >= _MOST_OPEN:
                yield self._open.pop(next(iter(self._open))), now
            if (earlier := self._open.pop(event.call_id, None)) is not None:
                yield earlier, now
            self._open[event.call_id] = self._tool(event, recorded.seq, now)
        elif isinstance(event, ToolReturned):
            if (span := self._open.pop(event.call_id, None)) is not None:
                span.error = "tool_error" if event.failed else None
                self._say(span, "gen_ai.tool.call.result", event.output)
                yield span, now
        elif isinstance(event, ModelCalled):
            yield self._model(event, recorded.seq, now), now
        elif isinstance(event, AgentFinished):
            yield from self._agent_finished(event, now)
        elif isinstance(event, AgentMessage) and event.parent_call_id is None and event.role == "assistant":
            self._say_messages(self._agent, "gen_ai.output.messages", "assistant", event.text)
        elif self._run is not None and isinstance(event, Evaluated):
            self._run.attributes |= {"runbook.verdict": event.verdict, "runbook.success": event.success}
        elif self._run is not None and isinstance(event, RunFinished):
            self._run.attributes["runbook.status"] = event.known_status
            self._run.error = (event.error_code or event.status) if event.status != "completed" else None

    def rest(self) -> Iterator[tuple[_Span, int]]:
        """The spans that no event has ended: the run itself, and what it was killed in."""
        yield from self._agent_ended(self._last)
        if self._run is not None:
            yield self._run, self._last

    def _began(self, event: RunStarted, seq: int, now: int) -> _Span:
        self._conversation = event.trajectory_id
        name = f"{event.collection}/{event.task}"
        attributes = {"gen_ai.workflow.name": name, "runbook.engine": event.engine}
        span = self._span("invoke_workflow", name, seq, now, None, attributes)
        self._say_messages(span, "gen_ai.input.messages", "user", str(event.init_params.get("instruction") or ""))
        return span

    def _agent_began(self, event: AgentStarted, seq: int, now: int) -> _Span:
        self._provider, self._usage = event.provider or "unknown", Usage()
        attributes = {
            "gen_ai.agent.name": event.agent,
            "gen_ai.agent.version": event.version,
            "gen_ai.provider.name": self._provider,
            "gen_ai.request.model": event.model,
        }
        return self._span("invoke_agent", event.agent, seq, now, self._run, attributes)

    def _tool(self, event: ToolCalled, seq: int, now: int) -> _Span:
        parent = self._open.get(event.parent_call_id or "") or self._agent or self._run
        attributes = {"gen_ai.tool.name": event.name, "gen_ai.tool.call.id": event.call_id}
        span = self._span("execute_tool", event.name, seq, now, parent, attributes)
        self._say(span, "gen_ai.tool.call.arguments", json.dumps(event.input, ensure_ascii=False))
        return span

    def _model(self, event: ModelCalled, seq: int, now: int) -> _Span:
        is_agent = event.asker == "agent"
        self._usage += event.usage if is_agent else Usage()
        attributes = {
            "gen_ai.provider.name": self._provider if is_agent else "unknown",
            "gen_ai.request.model": event.model,
            "gen_ai.response.finish_reasons": [event.stop] if event.stop else None,
            "http.response.status_code": event.status or None,
            "runbook.answered_by": event.source,
            **_tokens(event.usage),
        }
        start = max(0, now - int(event.seconds * 1e9))
        parent = self._agent or self._run if is_agent else self._run
        span = self._span("chat", event.model, seq, start, parent, attributes, kind="CLIENT")
        if event.error:
            span.error = str(event.status) if event.status >= 400 else "connection_error"
        return span

    def _agent_finished(self, event: AgentFinished, now: int) -> Iterator[tuple[_Span, int]]:
        if self._agent is not None:
            self._agent.attributes |= _present(
                {"runbook.ended_by": event.ended_by, "runbook.exit_code": event.exit_code}
            )
            self._agent.error = None if event.ended_well else (event.error_kind or event.ended_by)
            if not self._usage.api_calls:
                self._usage = event.usage or self._usage
        yield from self._agent_ended(now)

    def _agent_ended(self, now: int) -> Iterator[tuple[_Span, int]]:
        for span in self._open.values():
            span.error = "no_answer"
            yield span, now
        self._open.clear()
        if self._agent is not None:
            self._agent.attributes |= _present(_tokens(self._usage))
            yield self._agent, now
        self._agent = None

    def _span(
        self,
        operation: str,
        of: str,
        seq: int,
        start: int,
        parent: _Span | None,
        attributes: _Attributes,
        kind: str = "INTERNAL",
    ) -> _Span:
        known = {"gen_ai.operation.name": operation, "gen_ai.conversation.id": self._conversation}
        return _Span(f"{operation} {of}"[:250], seq, start, kind, parent, _present(known | attributes))

    def _say(self, span: _Span | None, name: str, text: str) -> None:
        if self._content and span is not None and text:
            span.attributes[name] = text[:_MOST_CONTENT]

    def _say_messages(self, span: _Span | None, name: str, role: str, text: str) -> None:
        parts = [{"type": "text", "content": text[:_MOST_CONTENT]}]
        self._say(span, name, json.dumps([{"role": role, "parts": parts}], ensure_ascii=False) if text else "")


def _present(attributes: _Attributes) -> _Attributes:
    return {name: value for name, value in attributes.items() if value is not None}


def _tokens(usage: Usage) -> _Attributes:
    """By the conventions, the input counts the cached tokens too."""
    if not usage.all_tokens and usage.cost_usd is None:
        return {}
    return {
        "gen_ai.usage.input_tokens": usage.prompt_tokens + usage.cache_read_tokens + usage.cache_write_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "runbook.cost_usd": usage.cost_usd,
    }


def _nanoseconds(ts: str) -> int:
    """Since 1970; 0 for what is not a time."""
    time = moment(ts)
    if time is None:
        return 0
    passed = datetime.fromisoformat(time) - datetime(1970, 1, 1, tzinfo=UTC)
    return max(0, (passed.days * 86_400 + passed.seconds) * 10**9 + passed.microseconds * 1000)


def write_otlp(events: Iterable[Recorded], out: IO[bytes], *, content: bool = False) -> None:
    """One request of OTLP/HTTP JSON a line, as the collector's file receiver takes them. Raises NotReadyError without
    the library."""
    with library():
        from opentelemetry.exporter.otlp.json.common.trace_encoder import encode_spans

        for batch in batches(events, content=content):
            out.write(encode_spans(batch).to_json().encode("utf-8", "backslashreplace") + b"\n")


@contextmanager
def library() -> Iterator[None]:
    """Raises NotReadyError without it."""
    try:
        yield
    except ImportError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        hint = "Install it, in the clone of Runbook Runner: pip install '.[otel]'."
        raise NotReadyError("The library of OpenTelemetry is not installed.", hint=hint) from error


def batches(events: Iterable[Recorded], *, content: bool) -> Iterator[list[Any]]:
    """Of the library's spans."""
    spans, made, batch = _Spans(content=content), None, list[Any]()
    for ended in _all(spans, events):
        made = made or _Maker(spans._conversation, spans._run)
        batch.append(made.span(*ended))
        if len(batch) >= _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _all(spans: _Spans, events: Iterable[Recorded]) -> Iterator[tuple[_Span, int]]:
    for recorded in events:
        yield from spans.of(recorded)
    yield from spans.rest()


class _Maker:
    """Makes the library's spans of one trace."""

    def __init__(self, conversation: str, run: _Span | None):
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._seed = f"{conversation}:{run.start if run else 0}"
        self._trace = int.from_bytes(hashlib.sha256(self._seed.encode("utf-8", "replace")).digest()[:16], "big") or 1
        self._resource = Resource({"service.name": "runbook-runner", "service.version": __version__})
        self._scope = InstrumentationScope("runbook_runner", __version__)

    def _context(self, span: _Span) -> Any:
        from opentelemetry.trace import SpanContext, TraceFlags

        digest = hashlib.sha256(f"{self._seed}:{span.number}".encode("utf-8", "replace")).digest()
        number = int.from_bytes(digest[:8], "big") or 1
        return SpanContext(self._trace, number, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    def span(self, span: _Span, end: int) -> Any:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.status import Status, StatusCode

        failed = {"error.type": span.error} if span.error else {}
        return ReadableSpan(
            name=span.name,
            context=self._context(span),
            parent=self._context(span.parent) if span.parent else None,
            resource=self._resource,
            attributes={**span.attributes, **failed},
            kind=SpanKind[span.kind],
            status=Status(StatusCode.ERROR if span.error else StatusCode.UNSET),
            start_time=span.start,
            end_time=max(end, span.start),
            instrumentation_scope=self._scope,
        )
