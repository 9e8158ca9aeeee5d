"""Gateway: what a provider API must say about itself so that the gateway can serve, script and record it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from runbook_runner.core.events import Stop, Usage

Operation = Literal["generate", "count_tokens"]
"""`generate` asks the model for an answer; `count_tokens` only asks how long a request is."""

Json = dict[str, Any]

MAX_MODEL_CHARS: Final = 200


def readable(text: object, limit: int) -> str:
    """Text from outside for people and for files: bounded, and without the lone surrogates that JSON allows and
    UTF-8 does not."""
    return str(text)[:limit].encode("utf-8", "replace").decode()


@dataclass(frozen=True)
class Tool:
    """A tool the agent's request offers to the model."""

    name: str
    schema: Json
    """JSON Schema of its input; empty when the request gives none."""
    freeform: bool = False
    """Its input is plain text, not a JSON object."""
    namespace: str | None = None
    """The group it is in, where the API has groups."""


@dataclass(frozen=True)
class Ask:
    """What the gateway must know of a request, whatever the API it is written in."""

    model: str
    stream: bool
    tools: tuple[Tool, ...]
    identity: Json = field(repr=False)
    """The part of the body that a retry of the same question repeats, and that another question does not."""
    conversation: tuple[Any, ...] = field(default=(), repr=False)
    """The messages so far, oldest first; every request repeats those of the one before."""
    stream_usage: bool = True
    """A streamed answer may tell its tokens; clients of some APIs must ask for that."""


@dataclass(frozen=True)
class Call:
    """A tool call in a scripted answer."""

    id: str
    """Without the prefix by which an API marks such ids."""
    tool: Tool
    input: Json

    @property
    def text(self) -> str:
        """The input of a freeform tool: the one value there is."""
        return "\n".join(str(value) for value in self.input.values())


@dataclass(frozen=True)
class Reply:
    """A scripted answer: reasoning, then text, then tool calls that may run side by side; each may be absent."""

    id: str
    """Without the API's prefix."""
    thinking: str | None
    text: str | None
    calls: tuple[Call, ...]
    usage: Usage
    stop: Stop | None = None


@dataclass(frozen=True)
class Reading:
    """What a response said."""

    usage: Usage
    """`api_calls` is 1 when the model answered. `cost_usd` only where the provider itself names the price."""
    error: str | None
    """The API's own error message, also one that came in the middle of a stream."""
    complete: bool
    """False for a stream that has not come to its proper end."""
    long_cache_tokens: int = 0
    """The part of `cache_write_tokens` that is kept for an hour, at another price."""
    tier: str | None = None
    """Service tier the provider charged, in its own words; `None`: the standard one or not told."""
    stop: Stop | None = None
    searches: int = 0
    """Searches of the web by the provider itself, which it charges for one by one."""
    may_end: bool = False
    """A stream that ends here, of its own accord, has said all; not every server of this API says its last word."""


NOTHING: Final = Reading(Usage(), error=None, complete=True)
"""What a body says that is no answer of this API."""

SILENT: Final = Reading(Usage(), error=None, complete=False)
"""What a stream has said before its first event."""


@dataclass(frozen=True)
class Delta:
    """A string inside a stream event that is one piece of a longer text."""

    channel: str
    """Pieces of the same text have the same channel."""
    holder: Json
    key: str


class Dialect(Protocol):
    """One provider API. Stateless; one module each. Nothing here raises on a strange body: what is absent is empty."""

    @property
    def name(self) -> str: ...

    def operation(self, method: str, path: str) -> Operation | None:
        """What this method and path ask for; `None` when they are not of this API."""

    def ask(self, path: str, body: Json) -> Ask: ...

    def error(self, status: int, message: str) -> Json:
        """The body of an error answer as this API's clients expect it."""

    def reading(self, body: bytes) -> Reading:
        """What a response said that is no event stream."""

    def heard(self, so_far: Reading, event: Json) -> Reading:
        """What a streamed response has said with one more event; before the first it is `SILENT`."""

    def deltas(self, event: Json) -> Iterator[Delta]:
        """The pieces of text in one stream event."""

    def render(self, reply: Reply, ask: Ask) -> list[bytes]:
        """The reply as body chunks: one JSON document, or the event stream, one event a chunk."""

    def count(self, tokens: int) -> Json:
        """The body of a `count_tokens` answer."""
