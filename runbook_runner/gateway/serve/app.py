"""Gateway: the ASGI app: checks a request's token, size and API, then hands it to the relay."""

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from runbook_runner.gateway.dialects import recognise
from runbook_runner.gateway.dialects.base import Json
from runbook_runner.gateway.serve.relay import Relay
from runbook_runner.gateway.serve.session import Session
from runbook_runner.gateway.upstream import CREDENTIAL_HEADERS, Headers, ModelRequest

MAX_BODY_BYTES: Final = 64 << 20
_NO_SESSION: Final = "unknown token: a token is valid for one run, at the address that this run was given"
_KEY_PARAMETER: Final = "key"
_PROBE_ANSWER: Final = {"gateway": "runbook-runner"}  # CLIs probe their base URL, some without a token
_IN_A_PATH: Final = "/:@!$&'()*+,;=~"  # RFC 3986 §3.3


class Refused(Exception):  # noqa: N818 (it is the answer to a request)
    """The request is answered with this error; no model call is made."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI app of all listening sockets. `scope["state"]["sessions"]`: those of the socket that the request came
    in at."""
    response = await _response(Request(scope, receive), scope["state"]["sessions"])
    await response(scope, receive, send)


async def _response(request: Request, sessions: Iterable[Session]) -> Response:
    if request.url.path == "/" and request.method in ("GET", "HEAD"):
        return JSONResponse(_PROBE_ANSWER)
    try:
        session = _session(request, sessions)
        return Relay(session, await _parse(request, session))
    except Refused as error:
        dialect, _ = recognise(request.method, _path(request))
        return JSONResponse(dialect.error(error.status, str(error)), error.status)


def _session(request: Request, sessions: Iterable[Session]) -> Session:
    tokens = _tokens(request)
    found = [session for session in sessions if session.admits(tokens)]
    if not found:
        raise Refused(401, _NO_SESSION)
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
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise Refused(415, f"this gateway does not take request bodies with content-encoding {encoding}")
    body = b"".join([chunk async for chunk in _limited_body(request, session)])
    if not session.is_open:  # closed while the body came in
        raise Refused(401, _NO_SESSION)
    if session.blocked:
        raise Refused(500, session.blocked.message)
    document = _document(body)
    return ModelRequest(
        dialect=dialect,
        operation=operation,
        method=request.method,
        path=path,
        query=_query(request),
        headers=_headers(request, session.token),
        body=body,
        json=document,
        parsed=dialect.parse_request(path, document),
    )


async def _limited_body(request: Request, session: Session) -> AsyncIterator[bytes]:
    too_large = Refused(413, f"a request body may have {MAX_BODY_BYTES >> 20} MB at most")
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


def _query(request: Request) -> str:
    """The query string without the token that Gemini's clients may put there."""
    pairs = request.url.query.split("&")
    return "&".join(pair for pair in pairs if pair.partition("=")[0] != _KEY_PARAMETER)


def _headers(request: Request, token: str) -> Headers:
    headers = request.headers.items()
    return tuple((name, value) for name, value in headers if name not in CREDENTIAL_HEADERS and token not in value)
