"""What providers, and the boxes before them, send besides clean answers: what the agent gets, and what is recorded."""

import asyncio
import gzip
import json
import re
import socketserver
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from runbook_runner.core.redaction import Redactor
from runbook_runner.gateway import Cassette, provider_from
from runbook_runner.gateway.providers.keys import stream_without_keys

KEY = "canary-key-1234567890"
MESSAGE = json.dumps({"type": "message", "content": [], "usage": {"input_tokens": 5, "output_tokens": 3}}).encode()
CHAT = b'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n'
USED = b'data: {"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":4}}\n\n'
DONE = b"data: [DONE]\n\n"


def whole(body: bytes, kind: str = "application/json", *lines: str, status: str = "200 OK") -> bytes:
    head = [f"HTTP/1.1 {status}", f"content-type: {kind}", f"content-length: {len(body)}", *lines]
    return "\r\n".join([*head, "", ""]).encode() + body


def until_closed(body: bytes, *lines: str) -> bytes:
    return "\r\n".join(["HTTP/1.0 200 OK", *lines, "", ""]).encode() + body


class Raw(socketserver.ThreadingTCPServer):
    """Says these bytes to whoever asks, and closes; keeps the first lines it was sent."""

    daemon_threads = allow_reuse_address = True
    request_queue_size = 64
    says = b""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ParsedRequest)
        self.asked: list[bytes] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class ParsedRequest(socketserver.StreamRequestHandler):
    server: Raw

    def handle(self) -> None:
        self.server.asked.append(self.rfile.readline().strip())
        size = 0
        while line := self.rfile.readline().strip():
            if line.lower().startswith(b"content-length:"):
                size = int(line.split(b":")[1])
        self.rfile.read(size)
        self.wfile.write(self.server.says)


@pytest.fixture
def raw() -> Iterator[Raw]:
    with Raw() as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


Say = Callable[..., tuple[Any, Any]]


@pytest.fixture
def say(connect: Any, raw: Raw) -> Say:
    """The agent's side of one call that the provider answers with these bytes, `None` for an answer that breaks off,
    and the recorded call."""

    def ask(says: bytes, *, path: str = "/v1/messages", stream: bool = False) -> tuple[Any, Any]:
        raw.says = says
        name, base, key = ("openai", "OPENAI_BASE_URL", "OPENAI_API_KEY") if "chat" in path else (
            "anthropic", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY")  # fmt: skip
        line = connect(provider_from(name, {base: raw.url, key: KEY}))
        try:
            response = line.post(path, model="m", messages=[], stream=stream)
        except httpx.RemoteProtocolError:
            response = None
        (call,) = line.cassette.calls()
        return response, call

    return ask


# --- event streams -------------------------------------------------------------------------------------------------


SECRET = "zx9-Quartz-Vole-77-Mire"
PIECES = (
    b'data: {"choices":[{"index":0,"delta":{"content":"it is zx9-Quartz"}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{"content":"-Vole-77-Mire"}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
)


@pytest.mark.parametrize("form", [
    lambda stream: stream.replace(b"\n", b"\r"),
    lambda stream: stream.replace(b"\n", b"\r\n"),
    lambda stream: stream.replace(b'{"choices":', b'{\ndata: "choices":\ndata:'),
    lambda stream: b"\xef\xbb\xbf" + stream,
    lambda stream: b": one\n\n" + stream.replace(b"\n\n", b"\n:two\n\n"),
], ids=["CR", "CRLF", "several lines", "BOM", "comments"])  # fmt: skip
def test_a_stream_is_counted_and_cleaned_in_each_form_that_the_standard_allows(
    connect: Any, raw: Raw, form: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    raw.says = whole(form(PIECES + USED + DONE), "text/event-stream")
    provider = provider_from("openai", {"OPENAI_BASE_URL": raw.url, "OPENAI_API_KEY": KEY})
    line = connect(provider, cassette=Cassette(tmp_path / "kept", Redactor({"CRM_TOKEN": SECRET})))
    got = line.post("/v1/chat/completions", model="m", messages=[], stream=True)
    assert got.content == form(PIECES + USED + DONE)
    (call,) = line.cassette.calls()
    assert (call.error, call.usage.prompt_tokens, call.usage.completion_tokens) == (None, 10, 4)
    kept = str(line.cassette.read(1).response)
    assert SECRET not in "".join(re.findall(r'"content": ?"([^"]*)"', kept))
    assert "REDACTED:CRM_TOKEN" in kept


# --- HTTP ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("says", [
    until_closed(MESSAGE, "Content-Type: application/json"),
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + whole(MESSAGE),
    whole(gzip.compress(MESSAGE), "application/json", "content-encoding: gzip"),
], ids=["http-1.0", "interim", "packed"])  # fmt: skip
def test_old_and_chatty_servers_are_understood(say: Say, says: bytes) -> None:
    response, call = say(says)
    assert (response.status_code, response.content) == (200, MESSAGE)
    assert (call.status, call.error, call.usage.prompt_tokens, call.usage.completion_tokens) == (200, None, 5, 3)


@pytest.mark.parametrize(("says", "stream", "told"), [
    (whole(b"<html>Log in</html>", "text/html"), False, "is not JSON: <html>Log in</html>"),
    (until_closed(MESSAGE[:30]), False, 'is not JSON: {"type"'),
    (whole(gzip.compress(MESSAGE)[:-12], "application/json", "content-encoding: gzip"), False, "is not JSON"),
    (whole(b""), False, "is empty"),
    (until_closed(b"", "content-type: text/event-stream"), True, "is empty"),
    (whole(b"hi", status="999 Odd"), False, "HTTP 999"),
    (b"SSH-2.0-OpenSSH\r\n\r\n", False, "Bad status line"),
    (whole(MESSAGE, "application/json", "content-encoding: br"), False, "Can not decode content-encoding"),
], ids=["page", "cut", "packed-cut", "empty", "empty-stream", "status", "no-http", "brotli"])  # fmt: skip
def test_what_is_no_answer_becomes_an_error_that_the_agent_can_try_again(
    say: Say, says: bytes, stream: bool, told: str
) -> None:
    response, call = say(says, stream=stream)
    assert response.status_code == call.status == 502
    assert told in response.json()["error"]["message"]
    assert told in call.error
    assert "http://" not in call.error, "an address may hold a password"
    assert call.usage.api_calls == 0


@pytest.mark.parametrize("pieces", [(KEY,), (KEY[:9], KEY[9:]), (*KEY,)])
def test_a_quoted_key_is_taken_out_however_it_comes(pieces: tuple[str, ...]) -> None:
    async def body() -> AsyncIterator[bytes]:
        for piece in ("it is ", *pieces, " sk-", "x"):
            yield piece.encode()

    async def said() -> bytes:
        return b"".join([piece async for piece in stream_without_keys({"THE_KEY": KEY, "LOCAL": "is"}, body())])

    assert asyncio.run(said()) == b"it is ***REDACTED:THE_KEY*** sk-x"


def test_an_answer_that_quotes_the_key_does_not_bring_it_to_the_agent(say: Say) -> None:
    response, _ = say(whole(MESSAGE.replace(b'"content": []', f'"content": ["{KEY}"]'.encode())))
    assert response.json()["content"] == ["***REDACTED:ANTHROPIC_API_KEY***"]


def test_an_error_page_that_quotes_the_key_does_not_bring_it_to_the_agent(say: Say) -> None:
    response, call = say(whole(f"<p>Your key {KEY} is odd</p>".encode(), "text/html"))
    assert "Your key ***REDACTED:ANTHROPIC_API_KEY*** is odd" in response.json()["error"]["message"]
    assert KEY not in call.error


# --- streams -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("says", [
    until_closed(CHAT + USED + DONE, "Content-Type: Text/Event-Stream;charset=UTF-8"),
    until_closed(CHAT + USED + DONE),
    until_closed((CHAT + USED + DONE).replace(b"data: ", b"data:"), "content-type: text/event-stream"),
    until_closed((CHAT + USED + DONE).replace(b"\n", b"\r\n"), "content-type: text/event-stream"),
    until_closed(b": OPENROUTER PROCESSING\n\n" + CHAT + USED, "content-type: text/event-stream"),
    until_closed(b'data: {"choices":[],"usage":null}\n\n' + CHAT + USED + DONE, "content-type: text/event-stream"),
], ids=["capitals", "no-type", "no-space", "crlf", "no-done", "azure"])  # fmt: skip
def test_every_servers_stream_is_read_and_passed_on_as_it_is(say: Say, says: bytes) -> None:
    response, call = say(says, path="/v1/chat/completions", stream=True)
    assert response.content == says.partition(b"\r\n\r\n")[2]
    assert (call.status, call.error, call.stream) == (200, None, True)
    assert (call.usage.prompt_tokens, call.usage.completion_tokens) == (10, 4)


@pytest.mark.parametrize(
    "rest", [b"", b'data: {"choices":[{"delta":{"content":"gr\xc3'], ids=["no-end", "mid-character"]
)
def test_a_stream_that_is_cut_off_is_not_ended_for_the_agent(say: Say, rest: bytes) -> None:
    """Clients of this API take an answer without an end for a whole one: opencode asked 568 times in four minutes."""
    said = until_closed(CHAT.replace(b'"stop"', b"null") + rest, "content-type: text/event-stream")
    response, call = say(said, path="/v1/chat/completions", stream=True)
    assert response is None
    assert (call.status, call.error) == (0, "the provider's answer broke off: the stream ended before the answer did")
    assert (call.usage.api_calls, call.usage.prompt_tokens > 0, call.usage.estimated) == (1, True, True)


def test_an_error_in_the_last_event_is_the_calls_error(say: Say) -> None:
    no_room = b'data: {"choices":[{"delta":{},"finish_reason":"error","error":{"message":"No room."}}]}\n\n' + DONE
    said = until_closed(no_room, "content-type: text/event-stream")
    response, call = say(said, path="/v1/chat/completions", stream=True)
    assert response.content == no_room
    assert (call.status, call.error, call.usage.estimated) == (200, "No room.", False)


# --- paths ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "asked"), [
    ("qwen3:8b", "/deep/v1beta/models/qwen3:8b:generateContent"),
    ("a%20HTTP/1.1%0d%0aX:%20y", "/deep/v1beta/models/a%20HTTP/1.1%0D%0AX:%20y:generateContent"),
    ("gr%C3%BC", "/deep/v1beta/models/gr%C3%BC:generateContent"),
    ("a%3Fkey=b", "/deep/v1beta/models/a%3Fkey=b:generateContent"),
])  # fmt: skip
def test_a_path_goes_on_as_one_path(connect: Any, raw: Raw, path: str, asked: str) -> None:
    raw.says = whole(b'{"candidates": [{"finishReason": "STOP"}]}')
    line = connect(provider_from("google", {"GOOGLE_GEMINI_BASE_URL": f"{raw.url}/deep", "GEMINI_API_KEY": KEY}))
    assert line.post(f"/v1beta/models/{path}:generateContent").status_code == 200
    assert raw.asked == [f"POST {asked} HTTP/1.1".encode()]


def test_a_path_can_not_leave_the_providers_api(connect: Any, raw: Raw) -> None:
    line = connect(provider_from("google", {"GOOGLE_GEMINI_BASE_URL": f"{raw.url}/deep", "GEMINI_API_KEY": KEY}))
    assert line.post("/v1beta/models/..%2F..%2Fadmin:generateContent").status_code == 404
    assert raw.asked == []
