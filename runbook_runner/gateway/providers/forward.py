"""Gateway: forwards a session's requests to its provider, with the provider's key. Import it where a session is opened:
aiohttp is slow to import."""

import io
import math
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

import aiohttp
from yarl import URL

from runbook_runner.core.clock import utc_now
from runbook_runner.gateway.dialects.base import Dialect
from runbook_runner.gateway.providers.http_client import is_lasting, proxy_for, read_body, reason_of, shared_client
from runbook_runner.gateway.providers.keys import stream_without_keys, without_keys
from runbook_runner.gateway.providers.rate_limit import LONGEST_WAIT_S
from runbook_runner.gateway.providers.translation.translation import Translation
from runbook_runner.gateway.upstream import (
    Answer,
    GatewayFailure,
    Headers,
    ModelRequest,
    error_answer,
    permanent_failure,
    single_chunk,
)

if TYPE_CHECKING:
    from runbook_runner.gateway.providers.provider import Provider

REPORTED_WAIT_S: Final = 1.0
LONGEST_PAUSE_S: Final = 600.0  # of a provider; after a longer one the run can't go on
MAX_SHOWN_S: Final = 10 * 365 * 86400.0
_SENT_AT_ONCE_BYTES: Final = 1 << 20  # a larger body is sent in pieces, so that other calls go on meanwhile

_RETURNED: Final = frozenset(
    {"content-type", "retry-after", "retry-after-ms", "x-should-retry", "request-id", "x-request-id"}
)


class ProviderConnection:
    """One session's connections to a provider."""

    def __init__(self, provider: "Provider"):
        self._provider = provider
        self._proxy = proxy_for(provider.base_url)
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
                throttle.pause(retry_after, answer.error)
                answer = replace(answer, failure=answer.failure or self._closed(retry_after, answer.error))
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
        try:
            response = await self._send(request)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            yield self._unreachable(request.dialect, reason_of(error), lasts=is_lasting(error))
            return
        try:
            if 300 <= response.status < 400:
                yield self._unreachable(request.dialect, f"it redirects (HTTP {response.status})")
            elif response.status > 599:
                yield self._unreachable(request.dialect, f"it answers with HTTP {response.status}")
            elif response.status >= 400:
                yield await self._error(request.dialect, response)
            else:
                body = stream_without_keys(self._provider.secret_values(), read_body(response))
                yield Answer(response.status, _returned(response), body)
        finally:
            response.close()

    async def _send(self, request: ModelRequest) -> aiohttp.ClientResponse:
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

    async def _error(self, dialect: Dialect, response: aiohttp.ClientResponse) -> Answer:
        """Returns the provider's own error."""
        body = without_keys(self._provider.secret_values(), b"".join([chunk async for chunk in read_body(response)]))
        status = response.status
        message = dialect.parse_response(body).error or response.reason or ""
        failure = permanent_failure(status, self._provider.name, self._provider.key_name, message, body)
        return Answer(status, _returned(response), single_chunk(body), error=message, failure=failure)

    def _unreachable(self, dialect: Dialect, reason: str, *, lasts: bool = True) -> Answer:
        """lasts: who asks again gets the same."""
        message = f"no answer from {self._provider.name} at {self._provider.host}: {reason}"
        return error_answer(dialect, 502, message, GatewayFailure("network", message) if lasts else None)

    def _paused(self, dialect: Dialect, seconds: float) -> Answer:
        message = f"{self._provider.name} rate-limited this key; retry in {seconds:.0f} s"
        failure = self._closed(seconds, self._provider.throttle.said)
        return error_answer(dialect, 429, message, failure, (("retry-after", f"{seconds:.0f}"),))

    def _closed(self, seconds: float, said: str | None) -> GatewayFailure | None:
        """The failure that a wait means for the run; `None` for one that an agent may sit out."""
        if seconds <= LONGEST_PAUSE_S:
            return None
        until = (utc_now() + timedelta(seconds=min(seconds, MAX_SHOWN_S))).astimezone()
        limit = f"{self._provider.name} limits this key until {until:%Y-%m-%d %H:%M %Z}"
        return GatewayFailure("billing", f"{limit}: {said}" if said else f"{limit}.")


def _retry_after_s(answer: Answer) -> float:
    """Returns the seconds of OpenAI's `retry-after-ms`, else of `Retry-After`, a number or a date (RFC 9110); 0 without
    a usable value."""
    headers = dict(answer.headers)
    return _seconds(headers.get("retry-after-ms", "")) / 1000 or _seconds(headers.get("retry-after", ""))


def _seconds(text: str) -> float:
    with suppress(ValueError):
        return float(text) if 0 < float(text) < math.inf else 0.0
    with suppress(ValueError, TypeError):  # a date without a zone can't be compared
        return max(0.0, (parsedate_to_datetime(text) - utc_now()).total_seconds())
    return 0.0


def _recoded(header: str) -> str:
    """Headers are read as Latin-1 and sent as UTF-8; returns the text whose bytes are the same, if possible."""
    return header.encode("latin-1", "replace").decode("utf-8", "replace")


def _returned(response: aiohttp.ClientResponse) -> Headers:
    headers = ((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.raw_headers)
    known = ("anthropic-", "x-ratelimit-", "openai-")
    return tuple((name, value) for name, value in headers if name in _RETURNED or name.startswith(known))
