"""Gateway: a real provider, the upstream that forwards. Its key stays here, on the host."""

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from runbook_runner.gateway.dialects.base import Dialect, Reading
from runbook_runner.gateway.prices import Prices
from runbook_runner.gateway.throttle import LONGEST_WAIT_S, Throttle
from runbook_runner.gateway.translate import Target, Translation
from runbook_runner.gateway.upstream import (
    CREDENTIAL_HEADERS,
    Answer,
    Headers,
    ModelRequest,
    UpstreamBroke,
    error_answer,
    final_failure,
    once,
)

if TYPE_CHECKING:
    import httpx

CONNECT_S: Final = 10.0
READ_S: Final = 900.0  # a model may think for many minutes without a byte; the run's own idle limit comes first
TOLD_WAIT_S: Final = 1.0
_TIMEOUT: Final = {"connect": CONNECT_S, "read": READ_S, "write": 60.0, "pool": None}

# RFC 9110 §7.6.1, and what httpx itself must say about the body it sends and can decode.
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
MAX_ANSWER_BYTES: Final = 64 << 20
_RETURNED: Final = frozenset(
    {"content-type", "retry-after", "retry-after-ms", "x-should-retry", "request-id", "x-request-id"}
)

Credential = Literal["bearer", "x-api-key", "x-goog-api-key", "none"]


@dataclass(frozen=True)
class Provider:
    """A provider and the right to use it. An Upstream; see `providers.provider_from`."""

    name: str
    dialects: frozenset[str]
    """Names of the APIs it speaks itself; a request in another is translated."""
    base_url: str = field(repr=False)
    """May hold a password, in `https://user:password@host`."""
    key_name: str
    """The variable the key came from, for messages."""
    key: str = field(repr=False)
    credential: Credential
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

    def cost(self, model: str, reading: Reading) -> float | None:
        return self.prices.cost(self.name, model, reading)

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
        """The client's headers, without its credentials and those of its connection, and with the real key."""
        named = next((value for name, value in client_headers if name == "connection"), "")
        dropped = _NOT_FORWARDED | CREDENTIAL_HEADERS | {name.strip().lower() for name in named.split(",")}
        kept = tuple((name, value) for name, value in client_headers if name not in dropped)
        return (*kept, ("accept-encoding", "identity"), *self.extra_headers, *self._credential())

    def _credential(self) -> Headers:
        if self.credential == "none":
            return ()
        if self.credential == "bearer":
            return (("authorization", f"Bearer {self.key}"),)
        return ((self.credential, self.key),)


class ProviderConnection:
    """One session's connections to a provider."""

    def __init__(self, provider: Provider):
        self._provider = provider
        self._transport: httpx.AsyncHTTPTransport | None = None
        self._translation: Translation | None = None

    async def aclose(self) -> None:
        if self._transport is not None:
            await self._transport.aclose()

    @asynccontextmanager
    async def answer(self, request: ModelRequest) -> AsyncIterator[Answer]:
        """In turn with all other calls with the same key; a provider that asks to be left alone is."""
        throttle = self._provider.throttle
        if throttle.paused_s > LONGEST_WAIT_S:
            yield self._paused(request.dialect, throttle.paused_s)
            return
        async with throttle.turn() as waited, self._any_answer(request) as answer:
            asked = _retry_after_s(answer)
            if answer.status >= 400 and asked:
                throttle.pause(asked)
            if waited > TOLD_WAIT_S:
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
        import httpx

        try:
            response = await self._send(request)
        except (httpx.HTTPError, httpx.InvalidURL) as problem:
            yield self._unreachable(request.dialect, _reason(problem))
            return
        try:
            if response.is_redirect:
                yield self._unreachable(request.dialect, f"it redirects (HTTP {response.status_code})")
            elif response.status_code >= 400:
                yield await self._error(request.dialect, response)
            else:
                yield Answer(response.status_code, _returned(response), _body(response))
        finally:
            await response.aclose()

    async def _send(self, request: ModelRequest) -> "httpx.Response":
        """Without httpx's client, which looks after cookies, redirects and log-ins: none of that may happen here."""
        import httpx

        url = httpx.URL(self._provider.url(request.path, request.query))
        self._transport = self._transport or _transport(url)
        outgoing = httpx.Request(
            request.method,
            url,
            headers=[
                (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
                for name, value in self._provider.headers(request.headers)
            ],
            content=request.body,
            extensions={"timeout": _TIMEOUT},
        )
        response = await self._transport.handle_async_request(outgoing)
        response.request = outgoing
        return response

    async def _error(self, dialect: Dialect, response: "httpx.Response") -> Answer:
        """The provider's own error, unchanged but for the key, which some of them quote."""
        body = b"".join([chunk async for chunk in _body(response)])
        for name, value in self._provider.secret_values().items():
            body = body.replace(value.encode(), f"***REDACTED:{name}***".encode())
        status = response.status_code
        said = dialect.reading(stream=False, body=body).error or response.reason_phrase
        failure = final_failure(status, self._provider.name, self._provider.key_name, said)
        return Answer(status, _returned(response), once(body), error=said, failure=failure)

    def _unreachable(self, dialect: Dialect, reason: str) -> Answer:
        message = f"no answer from {self._provider.name} at {self._provider.host}: {reason}"
        return error_answer(dialect, 502, message)

    def _paused(self, dialect: Dialect, seconds: float) -> Answer:
        message = f"{self._provider.name} asked to be left alone for {seconds:.0f} s more"
        return error_answer(dialect, 429, message, headers=(("retry-after", f"{seconds:.0f}"),))


def _retry_after_s(answer: Answer) -> float:
    """Its date form is not in use with these APIs."""
    text = dict(answer.headers).get("retry-after", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        return 0.0


def _transport(url: "httpx.URL") -> "httpx.AsyncHTTPTransport":
    """Through the proxy that the environment names, if it names one for this host."""
    import httpx

    proxy = None if proxy_bypass(url.host) else getproxies().get(url.scheme)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    return httpx.AsyncHTTPTransport(limits=limits, proxy=proxy)


def _returned(response: "httpx.Response") -> Headers:
    headers = response.headers.items()
    known = ("anthropic-", "x-ratelimit-", "openai-")
    return tuple((name, value) for name, value in headers if name in _RETURNED or name.startswith(known))


async def _body(response: "httpx.Response") -> AsyncIterator[bytes]:
    """Decoded when it was packed, though we ask for it plain."""
    import httpx

    size = 0
    packed = "content-encoding" in response.headers
    try:
        async for chunk in response.aiter_bytes() if packed else _raw(response):
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise UpstreamBroke(f"its answer is larger than {MAX_ANSWER_BYTES >> 20} MB")
            yield chunk
    except httpx.HTTPError as problem:
        raise UpstreamBroke(_reason(problem)) from problem


def _raw(response: "httpx.Response") -> AsyncIterable[bytes]:
    assert isinstance(response.stream, AsyncIterable)
    return response.stream


def _reason(problem: Exception) -> str:
    """httpx's own words; some of its errors have none."""
    return str(problem) or type(problem).__name__
