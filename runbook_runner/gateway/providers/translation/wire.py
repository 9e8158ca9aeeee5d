"""Gateway: the transports of litellm's HTTP clients: the gateway's own client, which follows no redirect, with the key
or without."""

from collections.abc import AsyncIterator
from functools import cache

import aiohttp
import httpx
from yarl import URL

from runbook_runner.core.network.tls import trusted_roots
from runbook_runner.gateway.dialects.base import Dialect
from runbook_runner.gateway.providers.http_client import READ_S, is_lasting, proxy_for, reason_of, shared_client
from runbook_runner.gateway.providers.translation.exchange import CURRENT, Exchange
from runbook_runner.gateway.providers.translation.repair import repair_request

_OF_THIS_HOP = ("content-encoding", "content-length", "transfer-encoding", "connection")


class Wire(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        exchange = CURRENT.get()
        exchange.asked(request.url.host, request.url.path)
        if other := exchange.elsewhere.get(request.url.host):
            raise _unreachable(exchange, request, f"litellm knows no address of it and would ask {other}")
        try:
            response = await _send(request, exchange.dialect)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise _unreachable(exchange, request, reason_of(error), lasts=is_lasting(error)) from error
        exchange.answered(response)
        if 300 <= response.status < 400:
            raise _unreachable(exchange, request, f"it redirects (HTTP {response.status})")
        headers = [(name, value) for name, value in response.headers.items() if name.lower() not in _OF_THIS_HOP]
        return httpx.Response(response.status, headers=headers, stream=_Body(exchange, response))


class WireOfThreads(httpx.BaseTransport):
    """For the few requests that litellm makes without asyncio, such as for a model's facts."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = _client(proxy_for(str(request.url))).send(request, stream=True, follow_redirects=False)
        if response.has_redirect_location:
            response.close()
            raise httpx.RemoteProtocolError(f"it redirects (HTTP {response.status_code})", request=request)
        return response


@cache
def _client(proxy: str | None) -> httpx.Client:
    """The environment of this machine may name a proxy that httpx does not know, for other addresses."""
    return httpx.Client(verify=trusted_roots(), timeout=READ_S, proxy=proxy, trust_env=False)


class _Body(httpx.AsyncByteStream):
    def __init__(self, exchange: Exchange, response: aiohttp.ClientResponse):
        self._exchange, self._response = exchange, response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._exchange.read(self._response):
            yield chunk

    async def aclose(self) -> None:
        self._response.close()


async def _send(request: httpx.Request, dialect: Dialect | None) -> aiohttp.ClientResponse:
    headers = [pair for pair in request.headers.items() if pair[0] not in ("accept-encoding", *_OF_THIS_HOP)]
    body = await request.aread()
    return await shared_client().request(
        request.method,
        URL(str(request.url), encoded=True),
        headers=[*headers, ("accept-encoding", "identity")],
        data=body if dialect is None else repair_request(dialect.name, body),
        proxy=proxy_for(str(request.url)),
        allow_redirects=False,
    )


def _unreachable(
    exchange: Exchange, request: httpx.Request, reason: str, *, lasts: bool = True
) -> httpx.TransportError:
    exchange.problem, exchange.lasts = reason, lasts
    return httpx.RemoteProtocolError(reason, request=request)
