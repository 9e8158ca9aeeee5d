"""Client: asks a platform over HTTP: bounded answers, one deadline each, and each bad answer as one clear error.

Redirects are not followed: the token is for one host. A proxy that HTTPS_PROXY names gets a tunnel, and sees no token.
"""

import http.client
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from http import HTTPStatus
from typing import Any, Final, NamedTuple, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from runbook_runner import __version__
from runbook_runner.client.access import TOKEN_VARIABLE, Access
from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.formats.json_toml import read_json
from runbook_runner.core.network.addresses import is_loopback
from runbook_runner.core.network.deadlines import TimedSocket, TimedTlsSocket
from runbook_runner.core.network.tls import trusted_by_user
from runbook_runner.core.settings import Settings
from runbook_runner.core.text import counted, printable_output, short

TIMEOUT_S: Final = 60.0
MOST_BYTES: Final = 64 << 20
"""Of an answer in JSON."""
_MOST_SAID = 500
_MOST_WAIT_S = 10.0
_BLOCK = 1 << 16
_PAUSES: Final = (0.5, 1.0)
"""Seconds before the second and the third try of a GET (contract §1.1)."""


class PlatformError(NotReadyError):
    """The platform could not be asked, or its answer can't be used."""

    code = "platform_failed"
    status: int | None = None
    """Of the answer; `None`: there was none, or it was none of a refusal."""
    may_pass = False
    """The next try may be better."""
    wait_s: float | None = None
    """What the platform wants until then."""


class NotFoundError(InputError):
    """The platform does not have it, or does not show it with this token."""

    code = "not_found"


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    length: int | None
    """Of the body, in bytes; `None`: the platform does not say."""
    blocks: Iterator[bytes]
    """Raises PlatformError for half a body, and for one that stands still."""


class Platform:
    def __init__(self, access: Access, *, timeout_s: float = TIMEOUT_S, pauses: Sequence[float] = _PAUSES):
        """timeout_s: for each answer in JSON, and for each block of a file. pauses: seconds between tries."""
        self._access = access
        self._url = urlsplit(access.api)
        self._timeout_s = timeout_s
        self._pauses = pauses
        self._tls = trusted_by_user(Settings.load().ca_bundle) if self._url.scheme == "https" else None
        if self._tls:
            self._tls.sslsocket_class = TimedTlsSocket

    @property
    def api(self) -> str:
        return self._access.api

    @property
    def secrets(self) -> dict[str, str]:
        """Name → value of what must not be recorded, should the platform send it."""
        return {TOKEN_VARIABLE: self._access.token} if self._access.token else {}

    def get(self, path: str, what: str) -> Any:
        """The JSON behind a path such as `/api/v1/tasks/c/t`. what: it is, for messages. Raises PlatformError and
        NotFoundError."""
        return self.trying(lambda: self._json("GET", path, what))

    def send(self, method: str, path: str, body: object, what: str) -> Any:
        """The JSON of the answer to one request, which is not repeated. Raises as `get`."""
        return self._json(method, path, what, json.dumps(body).encode())

    def trying(self, ask: Callable[[], Any]) -> Any:
        """What `ask` returns; it is called again after an error that may pass."""
        for pause in self._pauses:
            try:
                return ask()
            except PlatformError as error:
                if not error.may_pass or (error.wait_s or 0) > _MOST_WAIT_S:
                    raise
                time.sleep(pause if error.wait_s is None else error.wait_s)
        return ask()

    def _json(self, method: str, path: str, what: str, body: bytes | None = None) -> Any:
        with self.asked(method, path, what, body=body) as answer:
            text = self._bounded(answer, what)
            kind = answer.headers.get_content_type()
        if kind == "text/html" or text.lstrip()[:1] == b"<":
            hint = "Is this the address of the API, and not of its web pages? --api or JETTY_API_URL says it."
            raise self._error(f"The platform answered with a web page, not with {what}.", hint)
        try:
            return read_json(text, what)
        except InputError as error:
            raise self._error(f"The platform's answer can't be read as JSON: {error.message}", None) from error

    @contextmanager
    def asked(
        self, method: str, path: str, what: str, *, body: bytes | None = None, start: int = 0, is_long: bool = False
    ) -> Iterator[Answer]:
        """An answer with the status 200, 201, 202 or 206, of which nothing is read yet. start: the first byte that is
        wanted. is_long: the deadline is one of each block. Raises as `get`."""
        headers = {"Accept": "*/*" if is_long else "application/json", "Accept-Encoding": "identity"}
        headers |= {"User-Agent": f"runbook-runner/{__version__}", "Connection": "close"}
        headers |= {"Authorization": f"Bearer {self._access.token}"} if self._access.token else {}
        headers |= {"Content-Type": "application/json"} if body is not None else {}
        headers |= {"Range": f"bytes={start}-"} if start else {}
        try:
            with closing(self._connected()) as connection:
                connection.request(method, f"{self._url.path}{path}", body=body, headers=headers)
                socket = cast(TimedSocket, connection.sock)
                with closing(connection.getresponse()) as response:
                    blocks = self._blocks(response, socket if is_long else None)
                    answer = Answer(response.status, response.headers, response.length, blocks)
                    if response.status not in (200, 201, 202, 206):
                        raise self._refusal(answer, what)
                    yield answer
        except (OSError, UnicodeError, http.client.HTTPException) as error:  # a host that DNS can not spell
            raise self._broken(error) from error

    def _connected(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        deadline = time.monotonic() + self._timeout_s
        if self._tls is None:
            plain = http.client.HTTPConnection(host, port, timeout=self._timeout_s)
            plain.connect()
            plain.sock = TimedSocket(fileno=plain.sock.detach())
            plain.sock.settimeout(self._timeout_s)
            plain.sock.deadline = deadline
            return plain
        proxy = None if is_loopback(host) or proxy_bypass(host) else getproxies().get("https")
        by = urlsplit(proxy if "://" in proxy else f"http://{proxy}") if proxy else self._url
        secured = http.client.HTTPSConnection(by.hostname or "", by.port, timeout=self._timeout_s, context=self._tls)
        if proxy:
            secured.set_tunnel(host, port or 443)
        secured.connect()
        cast(TimedTlsSocket, secured.sock).deadline = deadline
        return secured

    def _blocks(self, response: http.client.HTTPResponse, socket: TimedSocket | None) -> Iterator[bytes]:
        """socket: has its deadline moved with each block."""
        left = response.length
        try:
            while left is None or left > 0:
                if socket:
                    socket.deadline = time.monotonic() + self._timeout_s
                block = response.read1(_BLOCK)
                if not block:
                    break
                left = None if left is None else left - len(block)
                yield block
        except (OSError, UnicodeError, http.client.HTTPException) as error:  # a host that DNS can not spell
            raise self._broken(error) from error
        if left:
            raise self._error(f"The platform's answer ended {counted(left, 'byte')} too early.", None, may_pass=True)

    def _bounded(self, answer: Answer, what: str) -> bytes:
        text = bytearray()
        for block in answer.blocks:
            text += block
            if len(text) > MOST_BYTES:
                raise self._error(f"The platform's answer, {what}, has more than {MOST_BYTES >> 20} MB.", None)
        return bytes(text)

    # --- errors ----------------------------------------------------------------------------------------------------

    def _refusal(self, answer: Answer, what: str) -> PlatformError | NotFoundError:
        status, said = answer.status, self._said(answer)
        if status == HTTPStatus.NOT_FOUND:
            return NotFoundError(f"The platform does not have {what}.", where=self.api, details=said)
        wait_s = _seconds(answer.headers.get("Retry-After"))
        if 300 <= status < 400:
            hint = "Redirects are not followed, as the token is for this host only. Name the API with --api."
            error = self._error(f"The platform answered with a redirect ({status}).", hint)
        elif status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            error = self._error(f"The platform refuses {what} ({status}).", self._token_hint(status), said)
        elif status == HTTPStatus.TOO_MANY_REQUESTS:
            again = f"in {wait_s:g} s" if wait_s is not None else "later"
            message = "The platform limits how often it is asked (429)."
            error = self._error(message, f"Try again {again}.", said, may_pass=True)
        else:
            reason = f"{status} {http.client.responses.get(status, '')}".strip()
            may_pass = status >= HTTPStatus.INTERNAL_SERVER_ERROR
            error = self._error(f"The platform answered {reason} for {what}.", None, said, may_pass=may_pass)
        error.status, error.wait_s = status, wait_s
        return error

    def _token_hint(self, status: int) -> str:
        if not self._access.token:
            return f"No token was sent. Set {TOKEN_VARIABLE}, or put the token into ~/.config/jetty/token."
        if status == HTTPStatus.UNAUTHORIZED:
            return f"The token is wrong or not active: look at {TOKEN_VARIABLE}, else at ~/.config/jetty/token."
        return "A token is good for one collection: is it this one?"

    def _said(self, answer: Answer) -> str | None:
        """What the platform says of its refusal, on one line; `None` when it says nothing in JSON."""
        raw = bytearray()
        try:
            for block in answer.blocks:
                raw += block
                if len(raw) > _BLOCK:
                    return None
            body = json.loads(raw)
        except (PlatformError, ValueError, RecursionError):
            return None
        body = body if isinstance(body, dict) else {}
        error = body.get("error")
        said = error.get("message") if isinstance(error, dict) else error
        said = said or body.get("detail")
        if isinstance(said, list):
            said = "; ".join(str(one.get("msg")) for one in said if isinstance(one, dict))
        return f"It says: {self._clean(said)}" if isinstance(said, str) and said.strip() else None

    def _clean(self, text: str) -> str:
        """One line for people, without the token."""
        for name, value in self.secrets.items():
            text = text.replace(value, f"***REDACTED:{name}***")
        line = " ".join(printable_output(text).split())
        return short(line if len(line) <= _MOST_SAID else f"{line[:_MOST_SAID]}…")

    def _broken(self, error: Exception) -> PlatformError:
        hint = None
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            hint = "If your network intercepts TLS, point RUNBOOK_CA_BUNDLE at its certificate."
        reason = self._clean(str(error)) or type(error).__name__
        return self._error(f"The platform can't be asked: {reason}.", hint, may_pass=True)

    def _error(
        self, message: str, hint: str | None, details: str | None = None, *, may_pass: bool = False
    ) -> PlatformError:
        error = PlatformError(message, where=self.api, hint=hint, details=details)
        error.may_pass = may_pass
        return error


def _seconds(retry_after: str | None) -> float | None:
    """`None` for a date, or nothing."""
    return float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None
