"""Gateway: the protocol of an upstream: a provider, a script or a replay, which answers the agent's requests."""

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Protocol

from runbook_runner.core.events import ReplayDiverged, Source
from runbook_runner.gateway.dialects.base import Dialect, Json, Operation, ParsedRequest, ParsedResponse

CREDENTIAL_HEADERS: Final = frozenset(
    {
        "authorization",
        "x-api-key",
        "x-goog-api-key",
        "proxy-authorization",
        "cookie",
        "api-key",
        "x-auth-token",
        "x-amz-security-token",
        "x-goog-iam-authorization-token",
        "x-litellm-api-key",
        "ocp-apim-subscription-key",
        "cf-aig-authorization",
    }
)
"""Headers that carry keys and tokens for providers and for gateways in front of them; never forwarded, never
recorded."""

Headers = tuple[tuple[str, str], ...]
FailureKind = Literal[
    "script",
    "replay",
    "budget",
    "authentication",
    "billing",
    "permission",
    "not_found",
    "network",
    "recording",
    "internal",
]


@dataclass(frozen=True)
class GatewayFailure:
    """A failure after which the agent can't go on; the run reports it as the reason why the agent gave up."""

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
    parsed: ParsedRequest = field(repr=False)
    large: bool = False
    """Work on it would hold up other calls, see `large.work`."""


@dataclass(frozen=True)
class Answer:
    """What the agent gets. `body` may raise `UpstreamBroke`."""

    status: int
    headers: Headers
    body: AsyncIterator[bytes]
    side: bool = False
    """The script answered a request outside the agent's main loop; no turn of it was used."""
    error: str | None = None
    """Why this is not an answer of the model, when its body does not say so."""
    failure: GatewayFailure | None = None
    uses_budget: bool = True
    """It counts against the run's budget."""
    cost_usd: float | None = None
    """What this answer cost; `None`: it is computed from its tokens."""
    unbuffered: bool = False
    """The body is sent on as it arrives even when it is not an event stream."""
    answered_by: str | None = None
    """The model that answered; `None`: the one that the request names."""
    told: Callable[[], ParsedResponse] | None = None
    """Returns the answer so far as the provider itself gave it, where `body` is a translation: what was used is read
    there. `None`: the body is the provider's own."""
    notes: tuple[str, ...] = ()
    """Warnings for the run, such as a wait or what a translation left out."""
    source: Source | None = None
    """Who answered; `None`: the upstream itself, see `Upstream.source`."""
    divergence: ReplayDiverged | None = None
    """How the request differs from the recorded one whose answer this is."""

    def with_note(self, note: str) -> "Answer":
        return replace(self, notes=(*self.notes, note))


_PERMANENT: Final[Mapping[int, FailureKind]] = {
    401: "authentication",
    402: "billing",
    403: "permission",
    404: "not_found",
}
# OpenAI's codes, and Google's quota of a day: both have the status, and Google the words, of a minute's limit.
_SPENT: Final = re.compile(
    rb'"(?:code|type)":\s{0,9}"(?:insufficient_quota|billing_not_active|billing_hard_limit_reached)"'
    rb'|"quotaId":\s{0,9}"\w{0,100}PerDay'
)


def permanent_failure(status: int, provider: str, key_name: str, message: str, body: bytes) -> GatewayFailure | None:
    """Returns the failure that the provider's error means for the run; `None`: another attempt may succeed. body: the
    error as JSON."""
    if status == 429 and _SPENT.search(body):
        return GatewayFailure("billing", f"{provider} has no quota left for this key, from {key_name}: {message}")
    if status not in _PERMANENT:
        return None
    return GatewayFailure(_PERMANENT[status], f"{provider} answered {status} (its key is from {key_name}): {message}")


def error_answer(
    dialect: Dialect, status: int, message: str, failure: GatewayFailure | None = None, headers: Headers = ()
) -> Answer:
    """Returns an error of the gateway itself, in the shape that the agent's API client expects."""
    body = json.dumps(dialect.error(status, message)).encode()
    return Answer(
        status, (("content-type", "application/json"), *headers), single_chunk(body), error=message, failure=failure
    )


async def single_chunk(body: bytes) -> AsyncIterator[bytes]:
    yield body


class UpstreamBroke(Exception):  # noqa: N818 (it never reaches a user: the relay turns it into an answer)
    """The upstream's connection ended before its answer did."""


class Connection(Protocol):
    """An upstream in use by one session. Used on the gateway's event loop only."""

    def answer(self, request: ModelRequest) -> AbstractAsyncContextManager[Answer]:
        """Leaving the context ends the call at the upstream, whether its body was read to the end or not."""


class Upstream(Protocol):
    """Answers model requests. Knows nothing of sessions; `connect` gives each its own state."""

    @property
    def source(self) -> Source: ...

    @property
    def address(self) -> str | None:
        """Scheme, host and port to which requests go; `None`: none leaves this process."""

    def placed(self, localise: Callable[[str], str]) -> "Upstream":
        """Returns the upstream for one sandbox: in what a person has written for the model, the function puts paths of
        that sandbox in the place of `/app/...`."""

    def resumed(self, turns: int) -> "Upstream":
        """Returns the upstream for a conversation of which so many answers were given elsewhere: a script goes on after
        as many turns."""

    def connect(self) -> Connection: ...

    def cost(self, model: str, response: ParsedResponse) -> float | None:
        """Returns the USD of one answer; `None` when the price is not known."""

    def secret_values(self) -> dict[str, str]:
        """Variable name → value of every secret it holds, for the redactor."""
