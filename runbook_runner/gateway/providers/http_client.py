"""Gateway: the HTTP clients towards providers, shared by all runs of this process. On the gateway's event loop only.

aiohttp is imported with the first client: the server closes the clients also when no run needed one.
"""

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import aiohttp

CONNECT_S: Final = 10.0
READ_S: Final = 900.0  # a model may think for many minutes without a byte; the run's own idle limit comes first
KEEP_ALIVE_S: Final = 30.0
_MAX_HEADER_BYTES: Final = 64 << 10

_clients: "Final[dict[tuple[str | None, str | None], aiohttp.ClientSession]]" = {}
"""By what the environment says about certificates."""


def shared_client() -> "aiohttp.ClientSession":
    """Returns the client that trusts what the environment says now. It keeps nothing of a run: no cookies, no log-ins
    from a file, no headers of its own; a key is a header of each request."""
    trusted = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if trusted not in _clients:
        _clients[trusted] = _new_client()
    return _clients[trusted]


async def close_clients() -> None:
    """Called before the event loop ends."""
    while _clients:
        _, client = _clients.popitem()
        await client.close()


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
