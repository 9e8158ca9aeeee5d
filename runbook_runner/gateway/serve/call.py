"""Gateway: one model call in progress: its request, what has come of its answer, and its outcome."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from runbook_runner.core import clock
from runbook_runner.core.events import ReplayDiverged, Source, Stop, Usage
from runbook_runner.core.formats.numbers import amount
from runbook_runner.gateway.cassette.cassette import Body, Cassette
from runbook_runner.gateway.cassette.stream import RecordedStream
from runbook_runner.gateway.dialects.base import ParsedResponse, readable
from runbook_runner.gateway.dialects.bodies import CHARS_OF_A_TOKEN, document, estimated_tokens
from runbook_runner.gateway.upstream import Answer, GatewayFailure, Headers, ModelRequest

MAX_ERROR_CHARS: Final = 2000
_SHOWN_CHARS: Final = 200

Cost = Callable[[str, ParsedResponse], float | None]
"""Model and answer → USD; `None` when the price is not known. See `Upstream.cost`."""


@dataclass
class ModelCall:
    """An event stream is sent on as it arrives; any other answer waits until it is complete and recorded, so that a
    late failure can still be reported with a proper status."""

    request: ModelRequest
    number: int
    source: Source
    cassette: Cassette
    """Where an event stream is written as it comes."""
    ts: str = field(default_factory=clock.now_iso)
    began: float = field(default_factory=time.monotonic)
    kept_request: Body | None = None
    status: int = 0
    headers: Headers = ()
    chunks: list[bytes] = field(default_factory=list)
    """The body, unless it is an event stream."""
    event_stream: RecordedStream | None = None
    """The body, when it is an event stream."""
    unbuffered: bool = False
    """The body is sent on as it arrives."""
    sent: bool = False
    """The status has been sent to the agent."""
    hung_up: bool = False
    """The agent closed the connection."""
    broken: bool = False
    """The answer did not come to its end."""
    broke_off: bool = False
    """The rest was not sent: by the provider, the script or the recording."""
    side: bool = False
    error: str | None = None
    failure: GatewayFailure | None = None
    ttfb: float | None = None
    received: int = 0
    """Chunks of the body so far."""
    uses_budget: bool = True
    cost_usd: float | None = None
    answered_by: str | None = None
    lost: ParsedResponse | None = None
    """What had come of an answer that did not come to its end."""
    told: Callable[[], ParsedResponse] | None = None
    divergence: ReplayDiverged | None = None

    def start(self, answer: Answer) -> None:
        self.status, self.headers, self.side = answer.status, answer.headers, answer.side
        self.error, self.failure = answer.error, answer.failure or self.failure
        self.cost_usd, self.answered_by = answer.cost_usd, answer.answered_by
        self.told = answer.told
        self.source, self.uses_budget = answer.source or self.source, answer.uses_budget
        self.divergence = answer.divergence or self.divergence
        kind, asked = self.content_type.lower(), self.request.parsed.stream
        is_stream = kind.startswith("text/event-stream") or (not kind and asked and self.status == 200)
        self.event_stream = RecordedStream(self.request.dialect, self.cassette) if is_stream else None
        self.unbuffered = is_stream or answer.unbuffered

    def add(self, chunk: bytes) -> None:
        """Raises RecordingError."""
        if self.ttfb is None:
            self.ttfb = self.seconds
        self.received += 1
        if self.event_stream is None:
            self.chunks.append(chunk)
        else:
            self.event_stream.add(chunk)

    def end(self) -> None:
        """No more of the answer will come."""
        if self.event_stream is not None:
            self.event_stream.end()

    def why_unusable(self) -> str | None:
        """Returns why an answer with status 200 is not one of this API (a proxy's error page, half a document); `None`
        when it is, or when the status says that it is not."""
        if self.status != 200 or self.broken:
            return None
        if self.ttfb is None:
            return "the provider's answer is empty"
        if self.is_stream or isinstance(document(self.body), (dict, list)):
            return None
        return f"the provider's answer is not JSON: {readable(self.body.decode('utf-8', 'replace'), _SHOWN_CHARS)}"

    @property
    def is_cut(self) -> bool:
        """The answer has ended, and is an event stream whose last event did not come."""
        return self.is_stream and self.ttfb is not None and not (self.parsed.complete or self.parsed.may_end)

    def discard(self) -> None:
        """Removes a half-written event stream."""
        if self.event_stream is not None:
            self.event_stream.discard()

    def abort(self, error: str, failure: GatewayFailure | None = None, *, ended: bool = False) -> None:
        """ended: the answer came to its end, and is none."""
        self.broken, self.error, self.failure = True, error, failure or self.failure
        if self.status in (0, 200) and not ended and not (self.is_stream and self.parsed.complete):
            self.lost = self.parsed

    def outcome(self, cost: Cost, *, estimates: bool) -> "Outcome":
        """An agent that hangs up after the last event of a stream has its answer, and so it is when a provider does.
        estimates: somebody has to pay for an answer that broke off, too."""
        parsed = self.parsed
        cut = (self.broken or self.hung_up) and not (self.is_stream and parsed.complete)
        error = (self.error if cut or not self.broken else None) or parsed.error
        counted = self.told() if self.told else parsed
        if estimates and self.asks_the_model and self.lost:
            counted = self._estimated(self.lost)
        usage = Usage() if self.side else self._priced(counted, cost)
        error = error and readable(error, MAX_ERROR_CHARS)
        return Outcome(0 if cut else self.status, usage, error, parsed.stop, broke_off=cut and self.broke_off)

    def _estimated(self, lost: ParsedResponse) -> ParsedResponse:
        """What the provider had not told is counted from the request and from what the model had written."""
        usage, said = lost.usage, self.event_stream.said_chars if self.event_stream else len(self.body)
        told = usage.prompt_tokens + usage.cache_read_tokens + usage.cache_write_tokens
        counted = {
            "prompt_tokens": usage.prompt_tokens if told else estimated_tokens(self.request.json),
            "completion_tokens": max(usage.completion_tokens, said // CHARS_OF_A_TOKEN),
            "api_calls": 1,
            "estimated": True,
        }
        return replace(lost, usage=usage.model_copy(update=counted))

    def _priced(self, parsed: ParsedResponse, cost: Cost) -> Usage:
        """The price by the upstream, else the one in the provider's answer, else the one by the price table."""
        usage = parsed.usage
        if not usage.api_calls:
            return usage
        usd = self.cost_usd if self.cost_usd is not None else usage.cost_usd
        if usd is None:
            usd = cost(self.answered_by or self.request.parsed.model, parsed)
        return usage.model_copy(update={"cost_usd": amount(usd)})

    @property
    def asks_the_model(self) -> bool:
        """It is a call of the agent's main loop, as far as that can be told."""
        return self.request.operation == "generate" and not self.side

    @property
    def is_stream(self) -> bool:
        return self.event_stream is not None

    @property
    def parsed(self) -> ParsedResponse:
        if self.event_stream is not None:
            return self.event_stream.parsed
        return self.request.dialect.parse_response(self.body)

    @property
    def content_type(self) -> str:
        return dict(self.headers).get("content-type", "")

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def seconds(self) -> float:
        """Since the request came in."""
        return round(time.monotonic() - self.began, 6)


@dataclass(frozen=True)
class Outcome:
    """How a call ended. status: what the agent got; 0 when the connection broke."""

    status: int
    usage: Usage
    error: str | None
    stop: Stop | None
    broke_off: bool
    """The provider did not send the rest of its answer."""

    @property
    def succeeded(self) -> bool:
        return self.status == 200 and self.error is None
