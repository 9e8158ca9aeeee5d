"""Who may use the gateway, for what, and how much."""

import gzip
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard

from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.ids import new_run_token
from runbook_runner.core.redaction import Redactor
from runbook_runner.gateway import Cassette, listen, load_script

Scripted = Callable[[str], Any]
QUESTION = {"model": "m", "messages": [{"role": "user", "content": "a"}]}


@pytest.mark.parametrize("header", ["bearer", "x-api-key"])
def test_token_is_accepted_in_both_of_the_headers_claude_code_uses(scripted: Scripted, header: str) -> None:
    line = scripted("- say: one")
    token = line.session.token
    headers = {"x-api-key": token} if header == "x-api-key" else {"authorization": f"Bearer {token}"}
    assert httpx.post(f"{line.url}/v1/messages", json=QUESTION, headers=headers, timeout=60).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "wrong"}, {"authorization": "Basic eDp5"}, {"x-api-key": ""}])
def test_unknown_token_is_refused_in_the_apis_own_words(scripted: Scripted, headers: dict[str, str]) -> None:
    line = scripted("- say: one")
    response = httpx.post(f"{line.url}/v1/messages", json=QUESTION, headers=headers, timeout=60)
    assert response.status_code == 401
    assert response.json()["error"]["type"] == "authentication_error"
    assert line.session.calls == 0


def test_token_dies_with_its_session(scripted: Scripted) -> None:
    line, other = scripted("- say: one\n- say: two"), scripted("- say: one")
    assert line.ask("a").status_code == 200
    line.session.close()
    line.session.close()
    assert line.ask("b").status_code == 401
    assert other.ask("a").status_code == 200


def test_request_that_was_still_coming_in_when_the_session_closed_is_refused(
    scripted: Scripted, eventually: Any
) -> None:
    line = scripted("- say: one")
    before = line.session.last_activity
    body = json.dumps(QUESTION).encode()
    with socket.create_connection(line.listener.address, 60) as connection:
        head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {line.session.token}\r\n"
        connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body[:10])
        eventually(lambda: line.session.last_activity > before)
        line.session.close()
        connection.sendall(body[10:])
        assert connection.recv(4096).startswith(b"HTTP/1.1 401 ")
    assert line.events == []


def test_base_url_may_be_probed_without_a_token(scripted: Scripted) -> None:
    line = scripted("- say: one")
    assert httpx.head(line.url, timeout=60).status_code == 200
    assert httpx.get(f"{line.url}/", timeout=60).status_code == 200


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/files"), ("GET", "/v1/messages"), ("DELETE", "/v1/models")])
def test_other_paths_of_the_provider_are_not_served(scripted: Scripted, method: str, path: str) -> None:
    line = scripted("- say: one")
    response = line.client.request(method, path)
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "not_found_error"


def test_body_over_the_limit_is_refused_before_it_is_read(scripted: Scripted) -> None:
    line = scripted("- say: one")
    with socket.create_connection(line.listener.address, 60) as connection:
        head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {line.session.token}\r\n"
        connection.sendall(f"{head}content-length: {(64 << 20) + 1}\r\n\r\n".encode())
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_body_that_grows_over_the_limit_is_refused(scripted: Scripted) -> None:
    line = scripted("- say: one")

    def endless() -> Any:
        for _ in range(65):
            yield b" " * (1 << 20)

    try:
        status = line.client.post("/v1/messages", content=endless()).status_code
    except httpx.TransportError:  # the answer and the end of the connection can overtake the body
        status = 413
    assert status == 413
    assert line.session.calls == 0


ASKED = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
PACKERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstandard.compress}


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "zstd", "identity"])
def test_packed_bodies_are_taken(scripted: Scripted, encoding: str) -> None:
    line = scripted("- say: one")
    body = PACKERS.get(encoding.lower(), bytes)(ASKED)
    response = line.client.post("/v1/messages", content=body, headers={"content-encoding": encoding})
    assert response.json()["content"][0]["text"] == "one"
    exchange = line.cassette.read(1)
    assert (exchange.request["messages"][0]["content"], "content-encoding" in str(exchange)) == ("hi", False)


@pytest.mark.parametrize(("encoding", "damage", "status", "said"), [
    ("gzip", lambda body: gzip.compress(body + b" " * (64 << 20)), 413, "64 MB at most, unpacked too"),
    ("zstd", lambda body: zstandard.compress(body + b" " * (64 << 20)), 413, "64 MB at most, unpacked too"),
    ("gzip", lambda body: gzip.compress(body)[:-9], 400, "not packed with gzip"),
    ("gzip", lambda body: gzip.compress(body) + b"x", 400, "not packed with gzip"),
    ("gzip", lambda body: b"", 400, "not packed with gzip"),
    ("zstd", lambda body: body, 400, "not packed with zstd"),
    ("br", lambda body: body, 415, "packed with gzip or zstd"),
], ids=["huge-gzip", "huge-zstd", "cut", "more", "empty", "plain", "unknown"])  # fmt: skip
def test_what_can_not_be_unpacked_is_refused_and_told(
    scripted: Scripted, encoding: str, damage: Callable[[bytes], bytes], status: int, said: str
) -> None:
    line = scripted("- say: one")
    for _ in range(2):
        response = line.client.post("/v1/messages", content=damage(ASKED), headers={"content-encoding": encoding})
        assert (response.status_code, said in response.json()["error"]["message"]) == (status, True), response.text
    (told,) = (event.message for event in line.events)
    assert said in told


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_body_that_is_not_a_json_object_is_refused(scripted: Scripted, body: bytes) -> None:
    line = scripted("- say: one")
    response = line.client.post("/v1/messages", content=body)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("body", [{}, {"tools": 5, "messages": "x", "model": 7}, {"tools": [1, {"name": 5}]}])
def test_strange_requests_are_answered_all_the_same(scripted: Scripted, body: dict[str, Any]) -> None:
    line = scripted("- say: one")
    assert line.post(**body).status_code == 200


def test_deeply_nested_request_is_an_error_not_a_crash(scripted: Scripted) -> None:
    line = scripted("- say: one\n- say: two")
    body = b'{"model":"m","messages":' + b"[" * 900 + b"]" * 900 + b"}"
    assert line.client.post("/v1/messages", content=body).status_code in (200, 400, 500)
    assert line.ask("b").status_code == 200


def test_lone_surrogates_are_recorded_and_answered(scripted: Scripted) -> None:
    line = scripted("- say: one")
    body = b'{"model":"m\\ud800","messages":[{"role":"user","content":"\\udfff"}]}'
    assert line.client.post("/v1/messages", content=body).status_code == 200
    assert line.cassette.read(1).request["messages"][0]["content"] == "\udfff"
    assert line.events[0].model == "m\ufffd"


def test_only_the_given_address_is_bound() -> None:
    with listen("127.0.0.2") as listener:
        host, port = listener.address
        assert host == "127.0.0.2"
        assert httpx.get(f"http://{host}:{port}/", timeout=60).status_code == 200
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/")


def test_address_of_another_machine_can_not_be_bound() -> None:
    with pytest.raises(NotReadyError, match=r"Can't listen at 192\.0\.2\.7"), listen("192.0.2.7"):
        pass


def test_stopped_gateway_leaves_no_listener_and_may_start_again() -> None:
    with listen() as listener:
        address = listener.address
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(address, 2)
    with listen() as listener:
        assert httpx.get("http://{}:{}/".format(*listener.address), timeout=60).status_code == 200


def test_token_chosen_beforehand_is_used(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("- say: one")
    token = new_run_token()
    cassette = Cassette(tmp_path / "model", Redactor({}))
    upstream = load_script(tmp_path / "m.yaml")
    with listen() as listener:
        session = listener.open(upstream=upstream, cassette=cassette, emit=lambda _: None, token=token)
    assert session.token == token
    assert len(token) >= 40


def test_importing_the_gateway_loads_no_server_and_no_http_client() -> None:
    heavy = ("starlette", "uvicorn", "httpx", "h11")
    code = f"import sys, runbook_runner.gateway; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
