"""Gateway: the seam between the agent's requests and whoever answers them, a provider or a script."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Protocol

from runbook_runner.core.events import ReplayDiverged, Source
from runbook_runner.gateway.dialects.base import Ask, Dialect, Json, Operation, Reading

CREDENTIAL_HEADERS: Final = frozenset({"authorization", "x-api-key", "x-goog-api-key", "proxy-authorization", "cookie"})
"""What a client proves itself with; never forwarded, never recorded."""

Headers = tuple[tuple[str, str], ...]
FailureKind = Literal[
    "script", "replay", "budget", "authentication", "billing", "permission", "not_found", "recording", "internal"
]


@dataclass(frozen=True)
class GatewayFailure:
    """Something after which the agent can't go on: the run's own explanation of an agent that gave up."""

    kind: FailureKind
    message: str


@dataclass(frozen=True)
class ModelRequest:
    """One request of the agent, authenticated and parsed."""

    dialect: Dialect
    operation: Operation
    method: str
    path: str
    query: str
    """Without the `?`."""
    headers: Headers = field(repr=False)
    """Lower-case names, without anything that carries the run's token."""
    body: bytes = field(repr=False)
    json: Json = field(repr=False)
    ask: Ask = field(repr=False)


@dataclass(frozen=True)
class Answer:
    """What goes back to the agent. `body` may raise `UpstreamBroke`."""

    status: int
    headers: Headers
    body: AsyncIterator[bytes]
    side: bool = False
    """The script answered a request beside the agent's main loop; its cursor did not move."""
    error: str | None = None
    """Why there is no real answer, when the upstream itself could not say so."""
    failure: GatewayFailure | None = None
    spends: bool = True
    """It counts against the run's budget."""
    cost_usd: float | None = None
    """What this answer cost, when the upstream knows; else it is reckoned from its tokens."""
    at_once: bool = False
    """The body goes on as it comes even when it is no event stream."""
    answered_by: str | None = None
    """The model that answered, when it is not the one that was asked for."""
    notes: tuple[str, ...] = ()
    """What the run should know about how this answer came to be."""

    def with_note(self, note: str) -> "Answer":
        return replace(self, notes=(*self.notes, note))

    source: Source | None = None
    """Who really answered, when the upstream is not always the same."""
    divergence: ReplayDiverged | None = None
    """How the request differs from the recorded one that this answer was given to."""


_FINAL: Final[Mapping[int, FailureKind]] = {
    401: "authentication",
    402: "billing",
    403: "permission",
    404: "not_found",
}


def final_failure(status: int, provider: str, key_name: str, said: str) -> GatewayFailure | None:
    """What a status of the provider means for the run; `None`: another attempt may succeed."""
    if status not in _FINAL:
        return None
    return GatewayFailure(_FINAL[status], f"{provider} answered {status} (its key is from {key_name}): {said}")


def error_answer(
    dialect: Dialect, status: int, message: str, failure: GatewayFailure | None = None, headers: Headers = ()
) -> Answer:
    """An error of the gateway itself, in the shape the agent's API client expects."""
    body = json.dumps(dialect.error(status, message)).encode()
    told = (("content-type", "application/json"), *headers)
    return Answer(status, told, once(body), error=message, failure=failure)


async def once(body: bytes) -> AsyncIterator[bytes]:
    yield body


class UpstreamBroke(Exception):  # noqa: N818 (it never reaches a user: the relay turns it into an answer)
    """The upstream's connection ended before its answer did."""


class Connection(Protocol):
    """An upstream in use by one session. Used on the gateway's event loop only."""

    def answer(self, request: ModelRequest) -> AbstractAsyncContextManager[Answer]:
        """Leaving the context ends the call at the upstream, whether its body was read to the end or not."""


class Upstream(Protocol):
    """Who answers. Knows nothing of sessions; `connect` gives each its own state."""

    @property
    def source(self) -> Source: ...

    def connect(self) -> Connection: ...

    def cost(self, model: str, reading: Reading) -> float | None:
        """USD of one answer; `None` when it is not known."""

    def secret_values(self) -> dict[str, str]:
        """Variable name → value of every secret it holds, for the redactor."""
