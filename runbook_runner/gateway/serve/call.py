"""Gateway: what is known of one model call while it is under way, and what it came to."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from runbook_runner.core import clock
from runbook_runner.core.events import ReplayDiverged, Source, Stop, Usage
from runbook_runner.gateway.cassette.cassette import Body, Cassette
from runbook_runner.gateway.cassette.stream import Reel
from runbook_runner.gateway.dialects.base import Reading, readable
from runbook_runner.gateway.dialects.bodies import document
from runbook_runner.gateway.upstream import Answer, GatewayFailure, Headers, ModelRequest

MAX_ERROR_CHARS: Final = 2000
_SHOWN_CHARS: Final = 200


@dataclass
class Tape:
    """One call. An event stream goes out as it arrives; anything else waits until it is whole and recorded, so that
    a late failure can still be told with a proper status."""

    request: ModelRequest
    number: int
    cassette: Cassette
    """Where an event stream is written as it comes."""
    ts: str = field(default_factory=clock.now_iso)
    began: float = field(default_factory=time.monotonic)
    kept_request: Body | None = None
    status: int = 0
    headers: Headers = ()
    chunks: list[bytes] = field(default_factory=list)
    """The body, unless it is an event stream."""
    reel: Reel | None = None
    """The event stream."""
    at_once: bool = False
    """The body goes out as it arrives."""
    sent: bool = False
    """The status went out to the agent."""
    gone: bool = False
    """The agent does not listen any more."""
    broken: bool = False
    """The answer did not come to its end."""
    side: bool = False
    error: str | None = None
    failure: GatewayFailure | None = None
    ttfb: float | None = None
    spends: bool = True
    cost_usd: float | None = None
    answered_by: str | None = None
    source: Source | None = None
    divergence: ReplayDiverged | None = None

    def start(self, answer: Answer) -> None:
        self.status, self.headers, self.side = answer.status, answer.headers, answer.side
        self.error, self.failure = answer.error, answer.failure or self.failure
        self.cost_usd, self.answered_by = answer.cost_usd, answer.answered_by
        self.source, self.spends = answer.source or self.source, answer.spends
        self.divergence = answer.divergence or self.divergence
        kind = self.content_type.lower()
        stream = kind.startswith("text/event-stream") or (not kind and self.request.ask.stream and self.status == 200)
        self.reel = Reel(self.request.dialect, self.cassette) if stream else None
        self.at_once = self.stream or answer.at_once

    def add(self, chunk: bytes) -> None:
        """Raises RecordingError."""
        if self.ttfb is None:
            self.ttfb = self.seconds
        if self.reel is None:
            self.chunks.append(chunk)
        else:
            self.reel.add(chunk)

    def end(self) -> None:
        """The answer is all there, or all that will come of it."""
        if self.reel is not None:
            self.reel.end()

    def no_answer(self) -> str | None:
        """Why what has come to its end is no answer of any API, although its status says so: the page of a proxy, half
        a document."""
        if self.status != 200 or self.broken:
            return None
        if self.ttfb is None:
            return "the provider's answer is empty"
        if self.stream or isinstance(document(self.body), (dict, list)):
            return None
        return f"the provider's answer is not JSON: {readable(self.body.decode('utf-8', 'replace'), _SHOWN_CHARS)}"

    def discard(self) -> None:
        """Leaves nothing half-written."""
        if self.reel is not None:
            self.reel.discard()

    def abort(self, error: str, failure: GatewayFailure | None = None) -> None:
        self.broken, self.error, self.failure = True, error, failure or self.failure

    @property
    def stream(self) -> bool:
        return self.reel is not None

    @property
    def reading(self) -> Reading:
        return self.reel.reading if self.reel is not None else self.request.dialect.reading(self.body)

    @property
    def content_type(self) -> str:
        return dict(self.headers).get("content-type", "")

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def seconds(self) -> float:
        """Since the request had come in."""
        return round(time.monotonic() - self.began, 6)


@dataclass(frozen=True)
class Outcome:
    """What a call came to. status: what the agent got; 0 when the connection broke."""

    status: int
    usage: Usage
    error: str | None
    stop: Stop | None

    @property
    def whole(self) -> bool:
        """The agent got what it had asked for."""
        return self.status == 200 and self.error is None


def outcome(tape: Tape, cost: Callable[[str, Reading], float | None]) -> Outcome:
    """An agent that hangs up after the last event of a stream has got its answer, and so has one whose provider did.

    cost: USD of an answer of a model, see `Upstream.cost`.
    """
    reading = tape.reading
    cut = (tape.broken or tape.gone) and not (tape.stream and reading.complete)
    error = (tape.error if cut or not tape.broken else None) or reading.error
    if error is None and tape.ttfb is not None and not (reading.complete or reading.may_end):
        error = "the stream ended before the answer did"
    usage = Usage() if tape.side else _priced(tape, reading, cost)
    return Outcome(0 if cut else tape.status, usage, error and readable(error, MAX_ERROR_CHARS), reading.stop)


def _priced(tape: Tape, reading: Reading, cost: Callable[[str, Reading], float | None]) -> Usage:
    """What the upstream says, then what the provider wrote into its answer, then what the price table says."""
    usage = reading.usage
    if not usage.api_calls:
        return usage
    known = tape.cost_usd if tape.cost_usd is not None else usage.cost_usd
    return usage.model_copy(
        update={"cost_usd": known if known is not None else cost(tape.answered_by or tape.request.ask.model, reading)}
    )
