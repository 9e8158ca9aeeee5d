"""A real HTTP server that behaves like the Anthropic API, well or badly, and real gateways in front of it."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard

from runbook_runner.core.events import Event
from runbook_runner.core.redaction import Redactor
from runbook_runner.gateway import Budget, Cassette, Listener, Session, Upstream, listen, load_script, provider_from

_NO_LIMIT = Budget()
KEY = "sk-test-canary-8f3a71c9d2"

STREAM: list[tuple[str, dict[str, Any]]] = [
    ("message_start", {"message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
                                   "stop_reason": None, "usage": {"input_tokens": 11, "cache_read_input_tokens": 3,
                                                                  "cache_creation_input_tokens": 2,
                                                                  "output_tokens": 1}}}),
    ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
    ("ping", {}),
    ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "Grüße, "}}),
    ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "world"}}),
    ("content_block_stop", {"index": 0}),
    ("message_delta", {"delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 42}}),
    ("message_stop", {}),
]  # fmt: skip

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 7, "output_tokens": 5, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 1},
}


def sse(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # with the usual five, a crowd of clients sees resets


class FakeAnthropic:
    """What it does depends on the model asked for; it keeps what it was sent."""

    def __init__(self) -> None:
        fake = self
        self.requests: list[dict[str, Any]] = []
        self.hung_up = threading.Event()
        """The client closed its connection while an answer was being sent."""
        self.go_on = threading.Event()
        """The `slow` model sends its first event, then waits for this."""

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                fake.requests.append({"path": self.path, "headers": dict(self.headers), "body": body})
                fake.answer(self, json.loads(body))

            def log_message(self, *args: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, http: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        errors = {
            "e401": (401, "authentication_error", {}),
            "e429": (429, "rate_limit_error", {"retry-after": "17"}),
            "e500": (500, "api_error", {"retry-after": "17"}),
            "e529": (529, "overloaded_error", {}),
            "closed": (429, "rate_limit_error", {"retry-after": "287441"}),
        }
        model = body.get("model")
        if http.path.startswith("/v1/messages/count_tokens"):
            self.json(http, 200, {"input_tokens": 1234})
        elif model in errors:
            status, kind, headers = errors[model]
            said = f"no: {http.headers.get('x-api-key')}" if status == 401 else "try later"
            self.json(http, status, {"type": "error", "error": {"type": kind, "message": said}}, headers)
        elif model == "day":
            violation = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "50"}
            error = {"code": 429, "message": "You exceeded your quota", "details": [{"violations": [violation]}]}
            self.json(http, 429, {"error": error})
        elif model == "spent":
            error = {"message": "You exceeded your quota", "type": "insufficient_quota", "code": "insufficient_quota"}
            self.json(http, 429, {"error": error})
        elif model == "drop":
            http.close_connection = True
        elif model == "moved":
            self.json(http, 307, {}, {"location": "http://127.0.0.1:9/elsewhere"})
        elif body.get("stream"):
            self.stream(http, model)
        elif model == "half":
            self.head(http, 200, {"content-type": "application/json", "content-length": "500"})
            http.wfile.write(b'{"id":')
            http.close_connection = True
        else:
            self.json(http, 200, MESSAGE)

    def stream(self, http: BaseHTTPRequestHandler, model: str | None) -> None:
        self.head(http, 200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        try:
            for number, (name, data) in enumerate(STREAM):
                self.chunk(http, sse(name, data))
                if number == 0 and model == "slow":
                    self.go_on.wait(20)
                if number == 0 and model == "endless":
                    self.drip(http)
                if number == 3 and model == "drop-mid":
                    http.close_connection = True
                    return
                if number == 3 and model == "overloaded":
                    error = {"type": "overloaded_error", "message": "Overloaded"}
                    self.chunk(http, sse("error", {"error": error}))
                    break
            http.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.hung_up.set()
            http.close_connection = True

    def drip(self, http: BaseHTTPRequestHandler) -> None:
        while not self.go_on.wait(0.02):
            self.chunk(http, sse("ping", {}))

    def chunk(self, http: BaseHTTPRequestHandler, data: bytes) -> None:
        http.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        http.wfile.flush()

    def json(self, http: BaseHTTPRequestHandler, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        fixed = {"content-type": "application/json", "content-length": str(len(data)), "request-id": "req_up_1",
                 "anthropic-ratelimit-requests-remaining": "9", "set-cookie": "a=b"}  # fmt: skip
        self.head(http, status, {**fixed, **(headers or {})})
        http.wfile.write(data)

    def head(self, http: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
        http.send_response(status)
        for name, value in headers.items():
            http.send_header(name, value)
        http.end_headers()


class Line:
    """One open session: the agent's side of it, and what was recorded."""

    def __init__(
        self,
        listener: Listener,
        session: Session,
        cassette: Cassette,
        events: list[Event],
        eventually: Callable[..., Any],
    ):
        self._eventually = eventually
        self.listener, self.session, self.cassette, self.events = listener, session, cassette, events
        host, port = listener.address
        self.url = f"http://{host}:{port}"
        headers = {"authorization": f"Bearer {session.token}", "anthropic-version": "2023-06-01"}
        self.client = httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)

    def post(self, path: str = "/v1/messages", **body: Any) -> httpx.Response:
        return self.client.post(path, json=body)

    def ask(self, text: str, **body: Any) -> httpx.Response:
        """An agent's question: the text is all that differs from another one."""
        fixed = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": text}]}
        return self.post(**{**fixed, **body})

    def settled(self) -> None:
        """Waits until no call is under way or being recorded."""
        self._eventually(lambda: not self.session.busy)


@pytest.fixture
def fake() -> Iterator[FakeAnthropic]:
    server = FakeAnthropic()
    yield server
    server.close()


Connect = Callable[..., Line]


@pytest.fixture
def connect(tmp_path: Path, eventually: Callable[..., Any]) -> Iterator[Connect]:
    """Opens a session behind a listening socket of its own."""
    lines: list[Line] = []
    opened = ExitStack()

    def make(
        upstream: Upstream,
        secrets: dict[str, str] | None = None,
        emit: Any = None,
        budget: Budget = _NO_LIMIT,
        cassette: Cassette | None = None,
    ) -> Line:
        events: list[Event] = []
        known = {**upstream.secret_values(), **(secrets or {})}
        cassette = cassette or Cassette(tmp_path / f"model{len(lines)}", Redactor(known))
        listener = opened.enter_context(listen())
        session = listener.open(upstream=upstream, cassette=cassette, emit=emit or events.append, budget=budget)
        lines.append(Line(listener, session, cassette, events, eventually))
        opened.callback(lines[-1].client.close)
        return lines[-1]

    with opened:
        yield make


@pytest.fixture
def provided(connect: Connect, fake: FakeAnthropic) -> Line:
    """A session whose upstream is the fake provider."""
    return connect(provider_from("anthropic", {"ANTHROPIC_BASE_URL": fake.url, "ANTHROPIC_API_KEY": KEY}))


@pytest.fixture
def scripted(connect: Connect, tmp_path: Path) -> Callable[[str], Line]:
    """A session that answers from this script text."""

    def make(text: str) -> Line:
        path = tmp_path / "model.yaml"
        path.write_text(text)
        return connect(load_script(path))

    return make


@pytest.fixture
def key() -> str:
    return KEY


@pytest.fixture
def upstream_stream() -> bytes:
    """What the fake provider streams, byte for byte."""
    return b"".join(sse(name, data) for name, data in STREAM)


@pytest.fixture
def bash() -> dict[str, Any]:
    """Claude Code's shell tool, as its requests offer it."""
    properties = {"command": {"type": "string"}, "timeout": {"type": "number"}, "description": {"type": "string"}}
    return {"name": "Bash", "input_schema": {"type": "object", "properties": properties, "required": ["command"]}}


@pytest.fixture
def leaks() -> Callable[[Path, str], list[str]]:
    """Files below a folder that hold a value: as it is or in base64, and in the blobs also once unpacked."""

    def search(folder: Path, value: str) -> list[str]:
        forms = [value.encode(), *(base64.b64encode(b"-" * n + value.encode())[4:-4] for n in range(3))]
        found = []
        for path in folder.rglob("*"):
            if path.is_file():
                raw = path.read_bytes()
                raw += zstandard.ZstdDecompressor().decompressobj().decompress(raw) if path.suffix == ".zst" else b""
                found += [str(path) for form in forms if form in raw]
        return found

    return search
