"""Trajectory, export: sends the spans of a run to a collector; only an answer that says so means that it took them."""

import logging
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.events import Recorded
from runbook_runner.core.formats.json_toml import read_json
from runbook_runner.core.text import printable_output
from runbook_runner.trajectory.export.otel import batches, library

TRACES: Final = "/v1/traces"
_TIMEOUT_S: Final = 10.0
"""For one request and its repetitions."""
_CONNECTS_S: Final = 3.0
_LONGEST_MESSAGE: Final = 300


def send_otlp(events: Iterable[Recorded], endpoint: str, *, content: bool = False) -> int:
    """Returns how many spans the collector has taken. endpoint: a whole address. Headers and certificates come from the
    library's own variables (OTEL_EXPORTER_OTLP_HEADERS, …). Raises NotReadyError when it does not take them."""
    _require_answer(endpoint)
    with library(), _messages() as messages:
        from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import SpanExportResult

        exporter, sent = OTLPSpanExporter(endpoint=endpoint, timeout=_TIMEOUT_S), 0
        answers = _Answers(exporter._client._transport)  # a redirect and a web page are a success to the library
        exporter._client._transport = answers  # type: ignore[assignment]
        try:
            for batch in batches(events, content=content):
                is_taken = exporter.export(batch) is SpanExportResult.SUCCESS
                refusal = answers.refusal() if is_taken else "\n".join(messages[-1:])
                if refusal or not is_taken:
                    taken = f" It took {sent} before." if sent else ""
                    raise NotReadyError(
                        f"The collector did not take the spans.{taken}",
                        where=endpoint,
                        hint="Look whether it takes OTLP/HTTP with JSON; `-o FILE` writes a file instead.",
                        details=printable_output(refusal)[:_LONGEST_MESSAGE] or None,
                    )
                sent += len(batch)
        finally:
            exporter.shutdown()
    return sent


class _Answers:
    """A transport of the library that keeps the last answer."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._last: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def request(self, *arguments: Any, **options: Any) -> Any:
        self._last = self._transport.request(*arguments, **options)
        return self._last

    def refusal(self) -> str:
        """Why the spans were not taken; empty when they were. That is an answer with a status from 200 to 299, and
        nothing or a JSON object in it that tells of no rejected spans (OTLP 1.9, "OTLP/HTTP response")."""
        if not 200 <= self._last.status_code < 300:
            return f"It answered {self._last.status_code} {self._last.reason}. Redirects are not followed."
        content = self._last.content()
        try:
            body = read_json(content, "the answer") if content.strip() else {}
        except InputError:
            body = None
        if not isinstance(body, dict):
            return "Its answer is not that of a collector: it is not a JSON object."
        told = body.get("partialSuccess")
        told = told if isinstance(told, dict) else {}
        rejected = told.get("rejectedSpans")
        if not rejected or str(rejected) == "0":  # the number may be a text
            return ""
        return f"It rejected {rejected} spans: {told.get('errorMessage') or 'it does not say why'}"


def _require_answer(endpoint: str) -> None:
    """The library would try again and again, and tell what its own library says. Raises NotReadyError."""
    parts = urlsplit(endpoint)
    if parts.scheme in getproxies() and not proxy_bypass(parts.netloc):
        return
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=_CONNECTS_S).close()
    except (OSError, UnicodeError) as error:
        why = "no answer came" if isinstance(error, TimeoutError) else getattr(error, "strerror", None) or str(error)
        hint = "Start a collector that takes OTLP/HTTP there, or write a file with `-o FILE`."
        raise NotReadyError(f"No collector can be reached: {why}.", where=endpoint, hint=hint) from error


@contextmanager
def _messages() -> Iterator[list[str]]:
    """What the library logs in this block, which it would print."""
    found: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    logger, keeper = logging.getLogger("opentelemetry"), Keeper()
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(keeper)
    try:
        yield found
    finally:
        logger.removeHandler(keeper)
        logger.propagate = propagates
