"""Gateway: the protocol of a dialect (one provider API), and what requests and answers are once they are parsed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from runbook_runner.core.events import Stop, Usage
from runbook_runner.core.text import encodable

Operation = Literal["generate", "count_tokens"]
"""`generate` asks the model for an answer; `count_tokens` only asks how long a request is."""

Json = dict[str, Any]

MAX_MODEL_CHARS: Final = 200


def readable(text: object, limit: int) -> str:
    """Returns the first characters of a text from outside, `encodable` as UTF-8."""
    return encodable(str(text)[:limit])


@dataclass(frozen=True)
class Tool:
    """A tool that the agent's request offers to the model."""

    name: str
    schema: Json
    """JSON Schema of its input; empty when the request gives none."""
    freeform: bool = False
    """Its input is plain text, not a JSON object."""
    namespace: str | None = None
    """The group it is in, where the API has groups."""


@dataclass(frozen=True)
class ParsedRequest:
    """What the gateway must know of a request, in whatever API it is written."""

    model: str
    stream: bool
    tools: tuple[Tool, ...]
    identity: Json = field(repr=False)
    """The part of the body that a retry of the same question repeats, and that another question does not."""
    conversation: tuple[Any, ...] = field(default=(), repr=False)
    """The messages so far, oldest first; every request repeats those of the one before."""
    stream_usage: bool = True
    """A streamed answer may report its tokens; clients of some APIs must ask for that."""


@dataclass(frozen=True)
class ToolCall:
    """A tool call in a scripted answer."""

    id: str
    """Without the prefix by which an API marks such ids."""
    tool: Tool
    input: Json

    @property
    def text(self) -> str:
        """The input of a freeform tool, which has one value."""
        return "\n".join(str(value) for value in self.input.values())


@dataclass(frozen=True)
class Reply:
    """A scripted answer: reasoning, then text, then tool calls that may run side by side; each may be absent."""

    id: str
    """Without the API's prefix."""
    thinking: str | None
    text: str | None
    calls: tuple[ToolCall, ...]
    usage: Usage
    stop: Stop | None = None


@dataclass(frozen=True)
class ParsedResponse:
    """What the gateway must know of an answer, complete or so far."""

    usage: Usage
    """`api_calls` is 1 when the model answered. `cost_usd` only where the provider itself names the price."""
    error: str | None
    """The API's own error message, also one that came in the middle of a stream; `None` without one."""
    complete: bool
    """False for a stream whose last event has not come."""
    long_cache_tokens: int = 0
    """The part of `cache_write_tokens` that is kept for an hour, at another price."""
    tier: str | None = None
    """Service tier that the provider charged, as it names it; `None`: the standard one, or not reported."""
    stop: Stop | None = None
    searches: int = 0
    """Web searches by the provider itself, which have a price each."""
    may_end: bool = False
    """A stream that ends here is complete all the same: not every server of this API sends its last event."""


NOT_AN_ANSWER: Final = ParsedResponse(Usage(), error=None, complete=True)
"""A body that is not an answer of this API."""

NO_EVENTS: Final = ParsedResponse(Usage(), error=None, complete=False)
"""A stream before its first event."""


@dataclass(frozen=True)
class Delta:
    """A string inside a stream event that is one piece of a longer text: `holder[key]`."""

    channel: str
    """Pieces of the same text have the same channel."""
    holder: Json
    key: str


class Dialect(Protocol):
    """One provider API. Stateless. Nothing here raises on an unexpected body: what is absent is empty."""

    @property
    def name(self) -> str: ...

    def operation(self, method: str, path: str) -> Operation | None:
        """Returns what this method and path ask for; `None` when they are not of this API."""

    def parse_request(self, path: str, body: Json) -> ParsedRequest: ...

    def error(self, status: int, message: str) -> Json:
        """Returns the body of an error answer as this API's clients expect it."""

    def stream_error(self, status: int, message: str) -> bytes:
        """Returns the event that reports a failure in the middle of a stream."""

    @property
    def ping(self) -> bytes:
        """What an event stream may say between two events, to show that the model is still at work."""

    def parse_response(self, body: bytes) -> ParsedResponse:
        """The body is not an event stream."""

    def add_event(self, response: ParsedResponse, event: Json) -> ParsedResponse:
        """Returns a streamed answer with one more event; before the first it is `NO_EVENTS`."""

    def deltas(self, event: Json) -> Iterator[Delta]:
        """The pieces of text in one stream event."""

    def render(self, reply: Reply, request: ParsedRequest) -> list[bytes]:
        """Returns the reply as body chunks: one JSON document, or the event stream, one event a chunk."""

    def token_count(self, tokens: int) -> Json:
        """Returns the body of a `count_tokens` answer."""
