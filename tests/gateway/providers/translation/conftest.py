"""A provider that answers as a test says, in any API, and what an agent of each API asks it."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from runbook_runner.gateway import provider_from

KEY = "sk-test-canary-8f3a71c9d2"
ENVIRONS = {
    "anthropic": ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "claude-sonnet-4-5"),
    "openai": ("OPENAI_BASE_URL", "OPENAI_API_KEY", "gpt-5"),
    "google": ("GOOGLE_GEMINI_BASE_URL", "GEMINI_API_KEY", "gemini-2.5-flash"),
    "lm_studio": ("LM_STUDIO_API_BASE", "LM_STUDIO_API_KEY", "qwen3"),
}
"""Provider → the variables of its address and key, and a model."""


class FakeProvider:
    """Answers with a JSON document, or with bytes as an event stream. Keeps what it was sent: path, body, headers."""

    def __init__(self, answer: Callable[[str, dict[str, Any]], Any], status: int, headers: dict[str, str]):
        self.requests: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                asked = json.loads(body or b"{}")
                fake.requests.append((self.path, asked, {name.lower(): text for name, text in self.headers.items()}))
                reply = answer(self.path, asked)
                is_stream = isinstance(reply, bytes)
                kind = "text/event-stream" if is_stream else "application/json"
                self.send_response(status)
                for name, value in {"content-type": kind, **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply if is_stream else json.dumps(reply).encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def sent(self) -> dict[str, Any]:
        """The body of the last request."""
        return self.requests[-1][1]


@pytest.fixture
def provider() -> Iterator[Callable[..., FakeProvider]]:
    """Starts a fake provider with one answer, or a function that gives it for a path and a body."""
    started: list[FakeProvider] = []

    def start(answer: Any, status: int = 200, headers: dict[str, str] | None = None) -> FakeProvider:
        started.append(FakeProvider(answer if callable(answer) else lambda *_: answer, status, headers or {}))
        return started[-1]

    yield start
    for fake in started:
        fake.server.shutdown()
        fake.server.server_close()


@pytest.fixture
def translated(connect: Callable[..., Any]) -> Callable[..., Any]:
    """A session of an agent that speaks a dialect, before a fake that plays this provider. `line.go()` asks."""

    def open_line(name: str, fake: FakeProvider, dialect: str, **more: Any) -> Any:
        address, key, model = ENVIRONS[name]
        line = connect(provider_from(name, {address: fake.url, key: KEY}, model=model, dialect=dialect), **more)
        line.go = lambda **body: line.post(PATHS[dialect], **{**ASKED[dialect], **body})
        return line

    return open_line


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}
PATHS = {
    "anthropic": "/v1/messages",
    "openai-responses": "/v1/responses",
    "openai-chat": "/v1/chat/completions",
    "gemini": "/v1beta/models/m:streamGenerateContent?alt=sse",
}
_USER = {"role": "user", "content": "go"}
ASKED: dict[str, dict[str, Any]] = {
    "anthropic": {
        "model": "m",
        "max_tokens": 100,
        "stream": True,
        "tools": [{"name": "run", "description": "d", "input_schema": SCHEMA}],
        "messages": [_USER],
    },
    "openai-responses": {
        "model": "m",
        "stream": True,
        "tools": [{"type": "function", "name": "run", "description": "d", "parameters": SCHEMA}],
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go"}]}],
    },
    "openai-chat": {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [{"type": "function", "function": {"name": "run", "description": "d", "parameters": SCHEMA}}],
        "messages": [_USER],
    },
    "gemini": {
        "tools": [{"functionDeclarations": [{"name": "run", "description": "d", "parameters": SCHEMA}]}],
        "contents": [{"role": "user", "parts": [{"text": "go"}]}],
    },
}
"""What an agent of each API asks: a stream, with a tool."""
