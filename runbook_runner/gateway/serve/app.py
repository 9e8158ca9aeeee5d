"""Gateway: the ASGI app: checks a request's token, size and API, then hands it to the relay."""

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from runbook_runner.gateway.dialects import recognise
from runbook_runner.gateway.dialects.base import Dialect, Json, ParsedRequest
from runbook_runner.gateway.large import is_large, pieces, work
from runbook_runner.gateway.serve.relay import Relay
from runbook_runner.gateway.serve.session import Session
from runbook_runner.gateway.serve.unpack import ENCODINGS, unpack
from runbook_runner.gateway.upstream import CREDENTIAL_HEADERS, Headers, ModelRequest

MAX_BODY_BYTES: Final = 64 << 20
MAX_PIECES: Final = 1 << 20  # the largest context of a model is about as many tokens
_TOO_LARGE: Final = f"a request body may have {MAX_BODY_BYTES >> 20} MB at most, unpacked too"
_NO_SESSION: Final = "unknown token: a token is valid for one run, at the address that this run was given"
_TOLD: Final = (400, 413, 415)
"""Statuses of requests that were meant for a model."""
_KEY_PARAMETER: Final = "key"
# Google's APIs take `key`, `access_token` and `oauth_token`, each also with a `$` in front.
_CREDENTIAL_PARAMETERS: Final = {_KEY_PARAMETER, "api_key", "apikey", "access_token", "oauth_token", "token"}
_PROBE_ANSWER: Final = {"gateway": "runbook-runner"}  # CLIs probe their base URL, some without a token
_IN_A_PATH: Final = "/:@!$&'()*+,;=~"  # RFC 3986 §3.3


class Refused(Exception):  # noqa: N818 (it is the answer to a request)
    """The request is answered with this error; no model call is made."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI app of all listening sockets. `scope["state"]["sessions"]`: those of the socket that the request came
    in at; `scope["state"]["peer"]`: see `Peer`."""
    response = await _response(Request(scope, receive), scope["state"]["sessions"])
    await response(scope, receive, send)


async def _response(request: Request, sessions: Iterable[Session]) -> Response:
    if request.url.path == "/" and request.method in ("GET", "HEAD"):
        return JSONResponse(_PROBE_ANSWER)
    session = None
    try:
        session = _session(request, sessions)
        return Relay(session, await _parse(request, session))
    except Refused as error:
        if session is not None and error.status in _TOLD:
            session.tell_once(f"the gateway refused a request of the agent: {error}")
        dialect, _ = recognise(request.method, _path(request))
        return JSONResponse(dialect.error(error.status, str(error)), error.status)


def _session(request: Request, sessions: Iterable[Session]) -> Session:
    tokens = _tokens(request)
    found = [session for session in sessions if session.admits(tokens)]
    if not found:
        raise Refused(401, _NO_SESSION)
    request.scope["state"]["peer"].admitted = True
    found[0].touch()
    return found[0]


def _tokens(request: Request) -> list[str]:
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    tokens = [bearer.strip()] if scheme.lower() == "bearer" else []
    named = [key for header in ("x-api-key", "x-goog-api-key") for key in request.headers.getlist(header)]
    return [*tokens, *named, *request.query_params.getlist(_KEY_PARAMETER)]


async def _parse(request: Request, session: Session) -> ModelRequest:
    path = _path(request)
    dialect, operation = recognise(request.method, path)
    if operation is None:
        raise Refused(404, f"this gateway does not serve {request.method} {path}")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity" and encoding not in ENCODINGS:
        raise Refused(415, "this gateway takes request bodies as they are, or packed with gzip or zstd")
    body = b"".join([chunk async for chunk in _limited_body(request, session)])
    async with session.working:
        if encoding != "identity":
            body = await work(True, _unpacked, encoding, body)
        large = is_large(body)
        _check(session)
        document, parsed = await work(large, _read, dialect, path, body)
    _check(session)
    return ModelRequest(
        dialect=dialect,
        operation=operation,
        method=request.method,
        path=path,
        query=_query(request, session.token),
        headers=_headers(request, session.token),
        body=body,
        json=document,
        parsed=parsed,
        large=large,
    )


def _check(session: Session) -> None:
    """The session may have been closed while the body came in or was read."""
    if not session.is_open:
        raise Refused(401, _NO_SESSION)
    if session.blocked:
        raise Refused(500, session.blocked.message)


async def _limited_body(request: Request, session: Session) -> AsyncIterator[bytes]:
    too_large = Refused(413, _TOO_LARGE)
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
        raise too_large
    size = 0
    async for chunk in request.stream():
        session.touch()
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise too_large
        yield chunk


def _unpacked(encoding: str, body: bytes) -> bytes:
    try:
        unpacked = unpack(encoding, body, MAX_BODY_BYTES)
    except ValueError as error:
        raise Refused(400, f"the request body is not packed with {encoding}: {error}") from None
    if len(unpacked) > MAX_BODY_BYTES:
        raise Refused(413, _TOO_LARGE)
    return unpacked


def _read(dialect: Dialect, path: str, body: bytes) -> tuple[Json, ParsedRequest]:
    if len(body) > MAX_PIECES and pieces(body) > MAX_PIECES:
        counted = "commas and opening brackets are counted, those in texts too"
        raise Refused(413, f"a request body may have {MAX_PIECES:,} JSON values at most ({counted})")
    document = _document(body)
    return document, dialect.parse_request(path, document)


def _document(body: bytes) -> Json:
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "the request body is not JSON") from None
    if not isinstance(document, dict):
        raise Refused(400, "the request body is not a JSON object")
    return document


def _path(request: Request) -> str:
    """Percent-encoded again: the agent chose it, and it becomes a part of the request to the provider."""
    return quote(request.scope["path"], safe=_IN_A_PATH)


def _query(request: Request, token: str) -> str:
    """The query string without credentials, such as the token that Gemini's clients put there. It is encoded anew, so
    that the provider reads the same names as this function."""
    pairs = parse_qsl(request.scope["query_string"].decode("latin-1").replace(";", "&"), keep_blank_values=True)
    return urlencode([(name, value) for name, value in pairs if not _is_credential(name) and token not in name + value])


def _is_credential(parameter: str) -> bool:
    return parameter.strip().lstrip("$").lower().replace("-", "_") in _CREDENTIAL_PARAMETERS


def _headers(request: Request, token: str) -> Headers:
    headers = request.headers.items()
    dropped = CREDENTIAL_HEADERS | {"content-encoding"}  # the body goes on unpacked
    kept = (pair for pair in headers if pair[0].replace("_", "-") not in dropped)
    return tuple((name, value) for name, value in kept if token not in value)
