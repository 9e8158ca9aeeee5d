"""Gateway: the seam between the agent's requests and whoever answers them, a provider or a script."""

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from runbook_runner.gateway.dialects.base import Ask, Dialect, Json, Operation

Source = Literal["provider", "script"]
CREDENTIAL_HEADERS: Final = frozenset({"authorization", "x-api-key", "proxy-authorization", "cookie"})
"""What a client proves itself with; never forwarded, never recorded."""

Headers = tuple[tuple[str, str], ...]
FailureKind = Literal["script", "authentication", "billing", "permission", "not_found", "recording", "internal"]


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


def error_answer(dialect: Dialect, status: int, message: str, failure: GatewayFailure | None = None) -> Answer:
    """An error of the gateway itself, in the shape the agent's API client expects."""
    body = json.dumps(dialect.error(status, message)).encode()
    return Answer(status, (("content-type", "application/json"),), once(body), error=message, failure=failure)


async def once(body: bytes) -> AsyncIterator[bytes]:
    yield body


class UpstreamBroke(Exception):  # noqa: N818 (it never reaches a user: the relay turns it into an answer)
    """The upstream's connection ended before its answer did."""


class Connection(Protocol):
    """An upstream in use by one session. Used on the gateway's event loop only."""

    def answer(self, request: ModelRequest) -> AbstractAsyncContextManager[Answer]:
        """Leaving the context ends the call at the upstream, whether its body was read to the end or not."""

    async def aclose(self) -> None: ...


class Upstream(Protocol):
    """Who answers. Knows nothing of sessions; `connect` gives each its own state."""

    @property
    def source(self) -> Source: ...

    def connect(self) -> Connection: ...

    def secret_values(self) -> dict[str, str]:
        """Variable name → value of every secret it holds, for the redactor."""
