"""Gateway: a real provider, the upstream that forwards. Its key stays here, on the host."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from runbook_runner.errors import InputError, NotReadyError
from runbook_runner.gateway.dialects.base import Dialect, Reading
from runbook_runner.gateway.upstream import (
    CREDENTIAL_HEADERS,
    Answer,
    FailureKind,
    GatewayFailure,
    Headers,
    ModelRequest,
    UpstreamBroke,
    error_answer,
    once,
)

if TYPE_CHECKING:
    import httpx

CONNECT_S: Final = 10.0
READ_S: Final = 900.0  # a model may think for many minutes without a byte; the run's own idle limit comes first

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
_FINAL: Final[Mapping[int, FailureKind]] = {
    401: "authentication",
    402: "billing",
    403: "permission",
    404: "not_found",
}


@dataclass(frozen=True)
class Provider:
    """A provider and the right to use it. An Upstream; see `provider_from`."""

    name: str
    base_url: str = field(repr=False)
    """May hold a password, in `https://user:password@host`."""
    key_name: str
    """The variable the key came from, for messages."""
    key: str = field(repr=False)
    bearer: bool
    """The key goes in `Authorization: Bearer`; otherwise in `x-api-key`."""
    extra_headers: Headers = ()
    source: Literal["provider"] = "provider"

    def connect(self) -> "ProviderConnection":
        return ProviderConnection(self)

    def cost(self, model: str, reading: Reading) -> float | None:
        return None

    def secret_values(self) -> dict[str, str]:
        return {self.key_name: self.key}

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).hostname or "nowhere"

    def url(self, path: str, query: str) -> str:
        """Base URLs are given with and without the version that every path starts with."""
        base = self.base_url.rstrip("/")
        base = base.removesuffix("/v1") if path.startswith("/v1/") else base
        return f"{base}{path}?{query}" if query else base + path

    def headers(self, client_headers: Headers) -> Headers:
        """The client's headers, without its credentials and those of its connection, and with the real key."""
        named = next((value for name, value in client_headers if name == "connection"), "")
        dropped = _NOT_FORWARDED | CREDENTIAL_HEADERS | {name.strip().lower() for name in named.split(",")}
        kept = tuple((name, value) for name, value in client_headers if name not in dropped)
        credential = ("authorization", f"Bearer {self.key}") if self.bearer else ("x-api-key", self.key)
        return (*kept, ("accept-encoding", "identity"), *self.extra_headers, credential)


class ProviderConnection:
    """One session's connections to a provider."""

    def __init__(self, provider: Provider):
        self._provider = provider
        self._client: httpx.AsyncClient | None = None

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    @asynccontextmanager
    async def answer(self, request: ModelRequest) -> AsyncIterator[Answer]:
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
        client = self._client = self._client or _client()
        outgoing = client.build_request(
            request.method,
            self._provider.url(request.path, request.query),
            headers=[
                (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
                for name, value in self._provider.headers(request.headers)
            ],
            content=request.body,
        )
        return await client.send(outgoing, stream=True)

    async def _error(self, dialect: Dialect, response: "httpx.Response") -> Answer:
        """The provider's own error, unchanged but for the key, which some of them quote."""
        raw = b"".join([chunk async for chunk in _body(response)])
        body = raw.replace(self._provider.key.encode(), f"***REDACTED:{self._provider.key_name}***".encode())
        status = response.status_code
        said = dialect.reading(stream=False, body=body).error or response.reason_phrase
        failure = None
        if status in _FINAL:
            about = f"{self._provider.name} answered {status} (its key is from {self._provider.key_name}): {said}"
            failure = GatewayFailure(_FINAL[status], about)
        return Answer(status, _returned(response), once(body), error=said, failure=failure)

    def _unreachable(self, dialect: Dialect, reason: str) -> Answer:
        message = f"no answer from {self._provider.name} at {self._provider.host}: {reason}"
        return error_answer(dialect, 502, message)


def provider_from(name: str | None, environ: Mapping[str, str]) -> Provider:
    """The provider of this name with its key from the environment. `None`: OpenRouter when its key is there, else
    Anthropic (contract §4.4). Raises InputError for an unknown name, NotReadyError without a key."""
    if name is None:
        name = "openrouter" if environ.get("OPENROUTER_API_KEY") else "anthropic"
    make = _PROVIDERS.get(name)
    if make is None:
        raise InputError(f"Unknown provider {name!r}.", hint=f"Known providers: {', '.join(_PROVIDERS)}.")
    return make(environ)


def _anthropic(environ: Mapping[str, str]) -> Provider:
    bearer = not environ.get("ANTHROPIC_API_KEY") and bool(environ.get("ANTHROPIC_AUTH_TOKEN"))
    key_name = "ANTHROPIC_AUTH_TOKEN" if bearer else "ANTHROPIC_API_KEY"
    base_url = environ.get("ANTHROPIC_BASE_URL") or "https://api.anthropic.com"
    return Provider("anthropic", base_url, key_name, _key(environ, key_name), bearer)


def _openrouter(environ: Mapping[str, str]) -> Provider:
    base_url = environ.get("OPENROUTER_BASE_URL") or "https://openrouter.ai/api"
    named = (("http-referer", "OPENROUTER_HTTP_REFERER"), ("x-title", "OPENROUTER_X_TITLE"))
    extra = tuple((header, environ[variable]) for header, variable in named if environ.get(variable))
    key = _key(environ, "OPENROUTER_API_KEY")
    return Provider("openrouter", base_url, "OPENROUTER_API_KEY", key, bearer=True, extra_headers=extra)


_PROVIDERS: Final = {"anthropic": _anthropic, "openrouter": _openrouter}


def _key(environ: Mapping[str, str], name: str) -> str:
    key = (environ.get(name) or "").strip()
    if not key:
        hint = f"Set {name}, or answer from a file with --model-script FILE."
        raise NotReadyError(f"There is no key for the model provider: {name} is not set.", hint=hint)
    if not key.isascii() or not key.isprintable():
        raise NotReadyError(f"{name} holds characters that no key has.", hint="Set it again, from the provider's page.")
    return key


def _client() -> "httpx.AsyncClient":
    import httpx

    timeout = httpx.Timeout(READ_S, connect=CONNECT_S, write=60.0, pool=None)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    return httpx.AsyncClient(timeout=timeout, limits=limits, follow_redirects=False)


def _returned(response: "httpx.Response") -> Headers:
    headers = response.headers.items()
    return tuple((name, value) for name, value in headers if name in _RETURNED or name.startswith("anthropic-"))


async def _body(response: "httpx.Response") -> AsyncIterator[bytes]:
    import httpx

    size = 0
    try:
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise UpstreamBroke(f"its answer is larger than {MAX_ANSWER_BYTES >> 20} MB")
            yield chunk
    except httpx.HTTPError as problem:
        raise UpstreamBroke(_reason(problem)) from problem


def _reason(problem: Exception) -> str:
    """httpx's own words; some of its errors have none."""
    return str(problem) or type(problem).__name__
