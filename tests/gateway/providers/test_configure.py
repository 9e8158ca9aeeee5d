"""Every provider in its own API: where the request goes, how the key goes with it, and that it stays here."""

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from runbook_runner.core.errors import NotReadyError
from runbook_runner.gateway import provider_from

KEY = "canary-key-1234567890"
CHAT = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 4,
                  "prompt_tokens_details": {"cached_tokens": 3}}}  # fmt: skip
RESPONSE = {"object": "response", "output": [], "usage": {"input_tokens": 10, "output_tokens": 4,
            "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0}}}  # fmt: skip
CONTENT = {"candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
           "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 3, "thoughtsTokenCount": 1,
                             "cachedContentTokenCount": 3}}  # fmt: skip
MESSAGE = {"type": "message", "usage": {"input_tokens": 7, "output_tokens": 4, "cache_read_input_tokens": 3}}


class Echo(BaseHTTPRequestHandler):
    """Answers in the API it is asked in, as JSON or as the one event of a stream; keeps what it was sent."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append((self.path, dict(self.headers), body))  # type: ignore[attr-defined]
        answer = next(said for part, said in (("messages", MESSAGE), ("responses", RESPONSE), ("chat", CHAT),
                                              ("Content", CONTENT)) if part in self.path)  # fmt: skip
        status = 403 if b"forbidden" in body else 200
        data = json.dumps(answer if status == 200 else {"error": {"message": f"no {KEY}"}}).encode()
        if "alt=sse" in self.path or b'"stream": true' in body or b'"stream":true' in body:
            done = b"data: [DONE]\n\n" if "chat" in self.path else b""
            wrapped = b'{"type":"response.completed","response":' + data + b"}" if "responses" in self.path else data
            self._send(status, "text/event-stream", b"data: " + wrapped + b"\n\n" + done)
        else:
            self._send(status, "application/json", data)

    def _send(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def echo() -> Any:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.seen, server.url = [], f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


ROUTES = [
    ("openai", "OPENAI_BASE_URL", "OPENAI_API_KEY", "/v1/responses", "authorization", f"Bearer {KEY}"),
    ("openai", "OPENAI_BASE_URL", "OPENAI_API_KEY", "/v1/chat/completions", "authorization", f"Bearer {KEY}"),
    ("google", "GOOGLE_GEMINI_BASE_URL", "GEMINI_API_KEY", "/v1beta/models/m:generateContent", "x-goog-api-key", KEY),
    ("google", "GOOGLE_GEMINI_BASE_URL", "GOOGLE_API_KEY", "/v1beta/models/m:generateContent", "x-goog-api-key", KEY),
    ("openrouter", "OPENROUTER_BASE_URL", "OPENROUTER_API_KEY", "/v1/responses", "authorization", f"Bearer {KEY}"),
    ("openrouter", "OPENROUTER_BASE_URL", "OPENROUTER_API_KEY", "/v1/chat/completions", "authorization",
     f"Bearer {KEY}"),
    ("openrouter", "OPENROUTER_BASE_URL", "OPENROUTER_API_KEY", "/v1/messages", "authorization", f"Bearer {KEY}"),
    ("anthropic", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "/v1/messages", "x-api-key", KEY),
]  # fmt: skip


@pytest.mark.parametrize(("name", "base", "variable", "path", "header", "credential"), ROUTES)
def test_request_goes_on_byte_for_byte_with_the_real_key(
    connect: Any, echo: Any, name: str, base: str, variable: str, path: str, header: str, credential: str
) -> None:
    line = connect(provider_from(name, {base: echo.url, variable: KEY}))
    body = b'{"model": "m",  "input":"\xc3\xa9", "contents": [], "messages": []}'
    headers = {"x-goog-api-key": line.session.token, "x-api-key": line.session.token, "x-stainless-lang": "1"}
    answer = line.client.post(path + "?x=1", content=body, headers=headers)
    assert answer.status_code == 200
    ((sent_path, sent, sent_body),) = echo.seen
    got = {key.lower(): value for key, value in sent.items()}
    assert (sent_path, sent_body) == (path + "?x=1", body)
    assert got[header] == credential
    assert got["x-stainless-lang"] == "1"
    assert len({"authorization", "x-api-key", "x-goog-api-key"} & got.keys()) == 1
    assert not any(line.session.token in value for value in got.values())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", sorted({route[3] for route in ROUTES if route[3] != "/v1/messages"}))
def test_tokens_are_read_from_every_api(connect: Any, echo: Any, path: str, stream: bool) -> None:
    name, base, variable, *_ = next(route for route in ROUTES if route[3] == path)
    line = connect(provider_from(name, {base: echo.url, variable: KEY}))
    if stream and name == "google":
        path = path.replace(":generate", ":streamGenerate") + "?alt=sse"
    extra = {"stream": True} if stream and name != "google" else {}
    answer = line.post(path, model="m", input="x", messages=[], contents=[], **extra)
    assert answer.headers["content-type"] == ("text/event-stream" if stream else "application/json")
    usage = line.session.usage
    assert (usage.prompt_tokens, usage.cache_read_tokens, usage.completion_tokens, usage.api_calls) == (7, 3, 4, 1)
    assert line.events[0].error is None


def test_answer_streamed_as_a_json_array_is_read_too(connect: Any) -> None:
    from runbook_runner.gateway.dialects import recognise

    dialect, _ = recognise("POST", "/v1beta/models/m:streamGenerateContent")
    usage = dialect.parse_response(json.dumps([CONTENT, CONTENT]).encode()).usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.reasoning_tokens) == (7, 4, 1)


@pytest.mark.parametrize("route", ROUTES[:4], ids=lambda route: f"{route[0]} {route[3]}")
def test_key_is_in_no_file_event_or_answer(
    connect: Any, echo: Any, route: tuple[str, ...], leaks: Callable[[Path, str], list[str]]
) -> None:
    name, base, variable, path, *_ = route
    line = connect(provider_from(name, {base: echo.url, variable: KEY}))
    refused = line.post(path, model="forbidden", input=f"my key is {KEY}", messages=[], contents=[], system=KEY)
    assert refused.status_code == 403
    assert KEY not in refused.text
    assert line.session.failure.kind == "permission"
    assert f"its key is from {variable}" in line.session.failure.message
    assert leaks(line.cassette.folder, KEY) == []
    assert KEY not in "".join(event.model_dump_json() for event in line.events)


def test_key_in_the_address_of_a_gemini_request_is_replaced_by_the_real_one(connect: Any, echo: Any) -> None:
    line = connect(provider_from("google", {"GOOGLE_GEMINI_BASE_URL": echo.url, "GEMINI_API_KEY": KEY}))
    path = f"/v1beta/models/m:generateContent?key={line.session.token}&x=1"
    assert httpx.post(line.url + path, json={"contents": []}).status_code == 200
    sent_path, sent, _ = echo.seen[0]
    assert sent_path == "/v1beta/models/m:generateContent?x=1"
    assert sent["x-goog-api-key"] == KEY


@pytest.mark.parametrize(("name", "says"), [
    ("openai", "OPENAI_API_KEY is not set"),
    ("google", r"GEMINI_API_KEY is not set\.\nSet GEMINI_API_KEY or GOOGLE_API_KEY"),
])  # fmt: skip
def test_missing_key_is_named(name: str, says: str) -> None:
    with pytest.raises(NotReadyError, match=says):
        provider_from(name, {})


@pytest.mark.parametrize("url", ["api.example.com", "http://[bad", "http://host:99999", "ftp://host", "https://",
                                 "https://host/v1?version=2"])  # fmt: skip
def test_an_address_that_is_none_is_refused_before_anything_starts(url: str) -> None:
    with pytest.raises(NotReadyError, match=r"^ANTHROPIC_BASE_URL is not the address of a server\."):
        provider_from("anthropic", {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": url})


def test_local_servers_need_no_key() -> None:
    for name, host in (("ollama", "127.0.0.1"), ("vllm", "127.0.0.1"), ("lm_studio", "127.0.0.1")):
        provider = provider_from(name, {}, dialect="openai-chat")
        assert provider.host == host
        assert provider.secret_values() == {}
        assert not {"authorization", "x-api-key"} & dict(provider.headers(())).keys()
    assert provider_from("ollama", {"OLLAMA_API_BASE": "http://gpu:1"}, dialect="openai-chat").host == "gpu"


def test_every_secret_of_a_provider_is_known_to_the_redactor() -> None:
    environ = {"AWS_BEARER_TOKEN_BEDROCK": "b-1234", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s-1234"}
    provider = provider_from("bedrock", environ)
    assert provider.secret_values().items() >= {**environ}.items()
    assert "s-1234" not in repr(provider)
    assert "b-1234" not in repr(provider.target)
