"""Room `runbook`: fetches a runbook over https from the open internet, and from nowhere else.

Each hop's host is resolved once, all its addresses are checked, and the connection is made to a checked address with
the name kept for TLS and the Host header: a name that resolves differently a moment later gains nothing. Proxies are
not used: through one the address could not be checked.
"""

import http.client
import re
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import closing
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final, cast
from urllib.parse import SplitResult, quote, urldefrag, urljoin, urlsplit

from runbook_runner.core.errors import InputError
from runbook_runner.core.network.addresses import Address, is_public
from runbook_runner.core.network.deadlines import TimedTlsSocket
from runbook_runner.core.network.tls import trusted_by_user
from runbook_runner.core.settings import MAX_RUNBOOK_BYTES, RUNBOOK_FILE, Settings

MAX_REDIRECTS: Final = 5
TIMEOUT_S: Final = 30.0
IsAllowed = Callable[[Address], bool]

_STATUS_HINTS: Final = {
    401: "Only public files can be fetched. Download it and give its path.",
    403: "Only public files can be fetched. Download it and give its path.",
    404: "Check the address; a file of a private repository is reported like this too.",
}
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_HEADERS: Final = {"Accept": "text/*, */*;q=0.5", "Accept-Encoding": "identity", "Connection": "close"}
_GITHUB: Final = re.compile(r"https://(?:www\.)?github\.com/([^/]+)/([^/]+)/(blob|raw|tree)/([^?#]+)")
_GIST: Final = re.compile(r"https://gist\.github\.com/([^/]+)/([0-9a-f]+)/?")
_CONFIDENTIAL: Final = re.compile(r"(?<=//)[^/?#]*@|[?#].*", re.DOTALL)


def fetch(
    url: str, *, is_allowed: IsAllowed = is_public, tls: ssl.SSLContext | None = None, timeout_s: float = TIMEOUT_S
) -> bytes:
    """The body behind an https URL; at most 5 MB, 5 redirects and `timeout_s` seconds in all.

    is_allowed: which network addresses may be connected to. tls: default trusts the public roots and the CA bundle
    of the settings. Raises InputError.
    """
    deadline = time.monotonic() + timeout_s
    target = _checked(raw_address(url), url)
    tls = tls or trusted_by_user(Settings.load().ca_bundle)
    tls.sslsocket_class = TimedTlsSocket
    for _ in range(MAX_REDIRECTS + 1):
        with closing(_connect(target, resolve(target, is_allowed), tls, deadline)) as connection:
            answer = _ask(connection, target)
        if isinstance(answer, bytes):
            return answer
        target = _checked(urljoin(target.geturl(), answer), url)
    raise InputError(f"The address leads through more than {MAX_REDIRECTS} redirects.", where=safe_url(url))


def raw_address(url: str) -> str:
    """The address of the text behind a GitHub page: of a file (`blob`), a folder (`tree`: its RUNBOOK.md) or a gist.
    Other addresses stay as they are."""
    if match := _GITHUB.match(url):
        owner, repository, kind, path = match.groups()
        file = f"{path.rstrip('/')}/{RUNBOOK_FILE}" if kind == "tree" else path
        return f"https://raw.githubusercontent.com/{owner}/{repository}/{file}"
    if match := _GIST.match(url):
        return f"https://gist.githubusercontent.com/{match[1]}/{match[2]}/raw"
    return url


def safe_url(url: str) -> str:
    """The address without the password, the query (`?token=…`) and the fragment, for messages."""
    return _CONFIDENTIAL.sub("", url)


def resolve(url: SplitResult, is_allowed: IsAllowed) -> tuple[Address, ...]:
    """All addresses of the URL's host. Raises InputError when there is none or when any of them is not allowed."""
    where = safe_url(url.geturl())
    try:
        found = socket.getaddrinfo(url.hostname, url.port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise InputError(f"The host {url.hostname} can't be found: {error}.", where=where) from error
    addresses = tuple(dict.fromkeys(ip_address(str(info[4][0])) for info in found))
    if not all(map(is_allowed, addresses)):
        hint = "Runbooks are fetched from public hosts only. Download the file and give its path."
        raise InputError(f"The host {url.hostname} is in a private network.", where=where, hint=hint)
    return addresses


def _checked(address: str, given: str) -> SplitResult:
    """The address without its fragment, its host as DNS spells it. given: for messages."""
    where = safe_url(given)
    try:
        url = urlsplit(urldefrag(address).url)
        host = (url.hostname or "").encode("idna").decode()
        port = f":{url.port}" if url.port else ""
    except ValueError as error:
        raise InputError("This is not an address.", where=where) from error
    if url.scheme != "https":
        raise InputError(f"Runbooks are fetched by https only, not {url.scheme or 'that'}.", where=where)
    if not host:
        raise InputError("The address does not name a host.", where=where)
    if "@" in url.netloc:
        raise InputError("An address with a password in it is refused.", where=where)
    return url._replace(netloc=f"[{host}]{port}" if ":" in host else f"{host}{port}")


def _connect(
    url: SplitResult, addresses: tuple[Address, ...], tls: ssl.SSLContext, deadline: float
) -> http.client.HTTPSConnection:
    """A connection to the first address that answers, with the TLS handshake done."""
    assert url.hostname
    port = url.port or 443
    connection = http.client.HTTPSConnection(url.hostname, port, context=tls)
    problem: OSError | None = None
    for address in addresses:
        try:
            plain = socket.create_connection((str(address), port), timeout=max(deadline - time.monotonic(), 0.001))
            connection.sock = secured = cast(TimedTlsSocket, tls.wrap_socket(plain, server_hostname=url.hostname))
            secured.deadline = deadline
            return connection
        except OSError as error:
            problem = error
    hint = None
    if "CERTIFICATE_VERIFY_FAILED" in str(problem):
        hint = "If your network intercepts TLS, point RUNBOOK_CA_BUNDLE at its certificate."
    message = f"The host {url.hostname} can't be reached: {problem}."
    raise InputError(message, where=safe_url(url.geturl()), hint=hint) from problem


def _ask(connection: http.client.HTTPSConnection, url: SplitResult) -> bytes | str:
    """The text, or the address of a redirect."""
    where = safe_url(url.geturl())
    path = quote(url.path + (f"?{url.query}" if url.query else ""), safe="/?%:@!$&'()*+,;=~")
    try:
        connection.request("GET", path if path.startswith("/") else f"/{path}", headers=_HEADERS)
        response = connection.getresponse()
        location = response.headers["Location"]
        if response.status in _REDIRECTS and location:
            return str(location)
        _require_text(response, where)
        return _body(response, where)
    except (OSError, http.client.HTTPException) as error:
        raise InputError(f"The file can't be fetched: {error or type(error).__name__}.", where=where) from error


def _require_text(response: http.client.HTTPResponse, where: str) -> None:
    if response.status != HTTPStatus.OK:
        reason = f"{response.status} {response.reason}".strip()
        raise InputError(f"The server answered {reason}.", where=where, hint=_STATUS_HINTS.get(response.status))
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise InputError("This is a web page, not a runbook.", where=where, hint="Give the address of the raw file.")


def _body(response: http.client.HTTPResponse, where: str) -> bytes:
    body = bytearray()
    whole = response.length
    while whole is None or len(body) < whole:
        block = response.read1(1 << 16)
        body += block
        if len(body) > MAX_RUNBOOK_BYTES:
            raise InputError(f"The runbook has more than {MAX_RUNBOOK_BYTES // 1_000_000} MB.", where=where)
        if not block:
            break
    if whole is not None and len(body) < whole:
        raise http.client.IncompleteRead(bytes(body), whole - len(body))
    return bytes(body)
