"""Gateway: a provider as an upstream: forwards requests to it, with its key, which stays on the host."""

import io
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from runbook_runner.core.facts.providers import KeyHeader
from runbook_runner.gateway.dialects.base import Dialect, ParsedResponse
from runbook_runner.gateway.providers.http_client import shared_client
from runbook_runner.gateway.providers.prices import Prices
from runbook_runner.gateway.providers.rate_limit import LONGEST_WAIT_S, Throttle
from runbook_runner.gateway.providers.translate import Target, Translation
from runbook_runner.gateway.upstream import (
    CREDENTIAL_HEADERS,
    Answer,
    Headers,
    ModelRequest,
    UpstreamBroke,
    error_answer,
    permanent_failure,
    single_chunk,
)

if TYPE_CHECKING:
    import aiohttp

REPORTED_WAIT_S: Final = 1.0
MAX_ANSWER_BYTES: Final = 64 << 20
_SENT_AT_ONCE_BYTES: Final = 1 << 20  # a larger body is sent in pieces, so that other calls go on meanwhile

# RFC 9110 §7.6.1, and what the HTTP client itself sets for the bodies that it sends and can decode.
_NOT_FORWARDED: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "expect",
        "host",
        "content-length",
        "accept-encoding",
    }
)
_RETURNED: Final = frozenset(
    {"content-type", "retry-after", "retry-after-ms", "x-should-retry", "request-id", "x-request-id"}
)


@dataclass(frozen=True)
class Provider:
    """A provider with a key for it. An Upstream; see `provider_from`."""

    name: str
    dialects: frozenset[str]
    """Names of the APIs it speaks itself; a request in another is translated."""
    base_url: str = field(repr=False)
    """May hold a password, in `https://user:password@host`."""
    key_name: str
    """The variable the key came from, for messages."""
    key: str = field(repr=False)
    key_header: KeyHeader
    """Which header the key goes in."""
    target: Target = field(repr=False)
    """Where a translated request goes."""
    throttle: Throttle = field(repr=False, compare=False)
    prices: Prices = field(default_factory=Prices, repr=False)
    extra_headers: Headers = ()
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """More variables with secret values that open it."""
    source: Literal["provider"] = "provider"

    def connect(self) -> "ProviderConnection":
        return ProviderConnection(self)

    def cost(self, model: str, response: ParsedResponse) -> float | None:
        return self.prices.cost(self.name, model, response)

    def secret_values(self) -> dict[str, str]:
        return {**({self.key_name: self.key} if self.key else {}), **self.secrets}

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).hostname or "nowhere"

    def url(self, path: str, query: str) -> str:
        """Base URLs are given with and without the version that every path starts with."""
        base = self.base_url.rstrip("/")
        version = "/" + path.lstrip("/").partition("/")[0]
        base = base.removesuffix(version)
        return f"{base}{path}?{query}" if query else base + path

    def headers(self, client_headers: Headers) -> Headers:
        """The client's headers, without its key and its connection's headers, and with the provider's key."""
        named = next((value for name, value in client_headers if name == "connection"), "")
        dropped = _NOT_FORWARDED | CREDENTIAL_HEADERS | {name.strip().lower() for name in named.split(",")}
        kept = tuple((name, value) for name, value in client_headers if name not in dropped)
        return (*kept, ("accept-encoding", "identity"), *self.extra_headers, *self._key_headers())

    def _key_headers(self) -> Headers:
        if self.key_header == "none":
            return ()
        if self.key_header == "bearer":
            return (("authorization", f"Bearer {self.key}"),)
        return ((self.key_header, self.key),)


class ProviderConnection:
    """One session's connections to a provider."""

    def __init__(self, provider: Provider):
        self._provider = provider
        self._proxy = _proxy(provider)
        self._translation: Translation | None = None

    @asynccontextmanager
    async def answer(self, request: ModelRequest) -> AsyncIterator[Answer]:
        """Waits for its turn among all calls with the same key. During a long pause the provider is not called."""
        throttle = self._provider.throttle
        if throttle.paused_s > LONGEST_WAIT_S:
            yield self._paused(request.dialect, throttle.paused_s)
            return
        async with throttle.turn() as waited, self._any_answer(request) as answer:
            retry_after = _retry_after_s(answer)
            if answer.status >= 400 and retry_after:
                throttle.pause(retry_after)
            if waited > REPORTED_WAIT_S:
                note = f"a model call waited {waited:.1f} s for its turn at {self._provider.name}"
                answer = answer.with_note(note)
            yield answer

    def _any_answer(self, request: ModelRequest) -> AbstractAsyncContextManager[Answer]:
        if request.dialect.name in self._provider.dialects:
            return self._forwarded(request)
        self._translation = self._translation or Translation(self._provider.target)
        return self._translation.answer(request)

    @asynccontextmanager
    async def _forwarded(self, request: ModelRequest) -> AsyncIterator[Answer]:
        import aiohttp

        try:
            response = await self._send(request)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            yield self._unreachable(request.dialect, _reason(error))
            return
        try:
            if 300 <= response.status < 400:
                yield self._unreachable(request.dialect, f"it redirects (HTTP {response.status})")
            elif response.status > 599:
                yield self._unreachable(request.dialect, f"it answers with HTTP {response.status}")
            elif response.status >= 400:
                yield await self._error(request.dialect, response)
            else:
                yield Answer(response.status, _returned(response), _body(response))
        finally:
            response.close()

    async def _send(self, request: ModelRequest) -> "aiohttp.ClientResponse":
        from yarl import URL

        url = URL(self._provider.url(request.path, request.query), encoded=True)
        body = request.body
        return await shared_client().request(
            request.method,
            url.with_user(None),  # a password there would take the place of the key
            headers=[(name, _recoded(value)) for name, value in self._provider.headers(request.headers)],
            data=body if len(body) <= _SENT_AT_ONCE_BYTES else io.BytesIO(body),
            proxy=self._proxy,
            allow_redirects=False,
        )

    async def _error(self, dialect: Dialect, response: "aiohttp.ClientResponse") -> Answer:
        """Returns the provider's own error, without the key, which some of them quote."""
        body = b"".join([chunk async for chunk in _body(response)])
        for name, value in self._provider.secret_values().items():
            body = body.replace(value.encode(), f"***REDACTED:{name}***".encode())
        status = response.status
        message = dialect.parse_response(body).error or response.reason or ""
        failure = permanent_failure(status, self._provider.name, self._provider.key_name, message)
        return Answer(status, _returned(response), single_chunk(body), error=message, failure=failure)

    def _unreachable(self, dialect: Dialect, reason: str) -> Answer:
        message = f"no answer from {self._provider.name} at {self._provider.host}: {reason}"
        return error_answer(dialect, 502, message)

    def _paused(self, dialect: Dialect, seconds: float) -> Answer:
        message = f"{self._provider.name} rate-limited this key; retry in {seconds:.0f} s"
        return error_answer(dialect, 429, message, headers=(("retry-after", f"{seconds:.0f}"),))


def _retry_after_s(answer: Answer) -> float:
    """Returns the seconds of `Retry-After`, 0 without a usable value. These APIs do not use its date form."""
    text = dict(answer.headers).get("retry-after", "")
    with suppress(ValueError):
        return float(text) if 0 < float(text) < math.inf else 0.0
    return 0.0


def _proxy(provider: Provider) -> str | None:
    """The proxy that the environment names for this provider; `None`: it is asked directly."""
    return None if proxy_bypass(provider.host) else getproxies().get(urlsplit(provider.base_url).scheme)


def _recoded(header: str) -> str:
    """Headers are read as Latin-1 and sent as UTF-8; returns the text whose bytes are the same, if possible."""
    return header.encode("latin-1", "replace").decode("utf-8", "replace")


def _returned(response: "aiohttp.ClientResponse") -> Headers:
    headers = ((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.raw_headers)
    known = ("anthropic-", "x-ratelimit-", "openai-")
    return tuple((name, value) for name, value in headers if name in _RETURNED or name.startswith(known))


async def _body(response: "aiohttp.ClientResponse") -> AsyncIterator[bytes]:
    """Yields the body as it arrives, decompressed when the provider compressed it although it was asked not to."""
    import aiohttp

    size = 0
    try:
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise UpstreamBroke(f"its answer is larger than {MAX_ANSWER_BYTES >> 20} MB")
            yield chunk
    except (aiohttp.ClientError, TimeoutError) as error:
        raise UpstreamBroke(_reason(error)) from error


def _reason(error: Exception) -> str:
    """Returns why a request failed, without the address, which may contain a password. Some errors have no message."""
    import aiohttp

    if isinstance(error, aiohttp.InvalidURL):
        return "its address is not valid"
    message = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    return " ".join(message.split()) or type(error).__name__
