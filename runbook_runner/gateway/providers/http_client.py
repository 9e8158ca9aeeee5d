"""Gateway: the HTTP clients towards providers, shared by all runs of this process.

aiohttp is imported with the first client: the server closes the clients also when no run needed one.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from runbook_runner.core.network.addresses import is_loopback
from runbook_runner.gateway.upstream import UpstreamBroke

if TYPE_CHECKING:
    import aiohttp

CONNECT_S: Final = 10.0
READ_S: Final = 900.0  # a model may think for many minutes without a byte; the run's idle limit does not count them
KEEP_ALIVE_S: Final = 30.0
MAX_ANSWER_BYTES: Final = 64 << 20
_MAX_HEADER_BYTES: Final = 64 << 10

_clients: "Final[dict[tuple[asyncio.AbstractEventLoop, str | None, str | None], aiohttp.ClientSession]]" = {}
"""By the event loop that uses it, and by what the environment says about certificates."""


def shared_client() -> "aiohttp.ClientSession":
    """Returns the client that trusts what the environment says now. It keeps nothing of a run: no cookies, no log-ins
    from a file, no headers of its own; a key is a header of each request."""
    key = asyncio.get_running_loop(), os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if key not in _clients:
        _clients[key] = _new_client()
    return _clients[key]


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for this address; `None`: it is asked directly, as this machine itself
    always is."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return None if is_loopback(host) or proxy_bypass(host) else getproxies().get(parts.scheme)


async def read_body(response: "aiohttp.ClientResponse") -> AsyncIterator[bytes]:
    """Yields the body as it arrives, decompressed when the provider compressed it although it was asked not to. Raises
    UpstreamBroke."""
    import aiohttp

    size = 0
    try:
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise UpstreamBroke(f"its answer is larger than {MAX_ANSWER_BYTES >> 20} MB")
            yield chunk
    except (aiohttp.ClientError, TimeoutError) as error:
        raise UpstreamBroke(reason_of(error)) from error


def reason_of(error: Exception) -> str:
    """Returns why a request failed, without the address, which may contain a password. Some errors have no message."""
    import aiohttp

    if isinstance(error, aiohttp.InvalidURL):
        return "its address is not valid"
    if isinstance(error, aiohttp.SocketTimeoutError):
        return f"it said nothing for {READ_S:g} s"
    message = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    if type(error) in (aiohttp.ClientConnectorError, aiohttp.ClientProxyConnectionError):
        assert isinstance(error, aiohttp.ClientConnectorError)
        number = error.os_error.errno
        message = os.strerror(number) if number and number > 0 else message
        if isinstance(error, aiohttp.ClientProxyConnectionError):
            message += f" by the proxy {error.host}:{error.port}, which HTTP_PROXY or HTTPS_PROXY names"
    return " ".join(message.split()) or type(error).__name__


def is_lasting(error: Exception) -> bool:
    """Whether who asks again gets the same error: nothing listens there, or the address is wrong."""
    import aiohttp

    return isinstance(error, (aiohttp.ClientConnectorError, aiohttp.InvalidURL))


async def close_clients() -> None:
    """Called before the event loop ends."""
    for key in [key for key in _clients if key[0] is asyncio.get_running_loop()]:
        await _clients.pop(key).close()


def _new_client() -> "aiohttp.ClientSession":
    import aiohttp

    from runbook_runner.core.network.tls import trusted_roots

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S, ssl=trusted_roots()),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=READ_S),
        max_line_size=_MAX_HEADER_BYTES,
        max_field_size=_MAX_HEADER_BYTES,
    )
