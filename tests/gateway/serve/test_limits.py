"""What a socket's connections may send and keep open, with and without a token, and what that costs other runs."""

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from runbook_runner.core.redaction import Redactor
from runbook_runner.gateway import Cassette, listen, provider_from

Scripted = Callable[[str], Any]
SERVE = "runbook_runner.gateway.serve"
CONNECTION = f"{SERVE}.connection"
BODY = b'{"model":"m","messages":[]}'


@pytest.fixture
def connected() -> Iterator[Callable[[Any], socket.socket]]:
    """Opens a connection to the socket of a line."""
    with ExitStack() as opened:
        yield lambda line: opened.enter_context(socket.create_connection(line.listener.address, 60))


Connected = Callable[[Any], socket.socket]


def head(token: str, *more: str, length: int = len(BODY)) -> bytes:
    lines = ("POST /v1/messages HTTP/1.1", "host: x", f"x-api-key: {token}", *more)
    return "\r\n".join((*lines, f"content-length: {length}", "\r\n")).encode()


def answer(connection: socket.socket) -> bytes:
    """The whole answer to a request."""
    got = b""
    while not got.endswith((b"}", b"0\r\n\r\n")):
        piece = connection.recv(65536)
        assert piece, got
        got += piece
    return got


def rest(connection: socket.socket) -> bytes:
    """All that comes until the connection is closed."""
    got = b""
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            got += piece
    return got


def is_open(connection: socket.socket) -> bool:
    """Nothing has been sent on it, nor has it been closed."""
    return not select.select([connection], [], [], 0)[0]


# --- size ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begin", [
    b"GET / HTTP/1.1\r\nhost: x\r\nx: ",
    b"GET /?",
    b"GET / HTTP/1.1\r\nhost: x\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: ",
], ids=["one header", "address", "many headers", "trailer"])  # fmt: skip
def test_headers_without_an_end_close_the_connection(scripted: Scripted, connected: Connected, begin: bytes) -> None:
    line = scripted("- say: one")
    connection = connected(line)
    connection.sendall(begin)
    block = b"a: b\r\n" * 10_000 if begin.endswith(b"\r\nhost: x\r\n") else b"a" * 60_000
    with pytest.raises(ConnectionError):
        connection.sendall(block * 1000)  # far more than the buffers of a connection hold
    assert line.ask("a").status_code == 200


@pytest.mark.parametrize("more", [["x: " + "a" * 70_000], [f"x-{n}: a" for n in range(300)], ["x: a"] * 300],
                         ids=["one header", "many headers", "one header often"])  # fmt: skip
def test_too_large_a_head_is_refused_also_with_a_token(scripted: Scripted, connected: Connected, more: Any) -> None:
    line = scripted("- say: one")
    connection = connected(line)
    connection.sendall(head(line.session.token, *more, length=0))
    assert b"431 Request Header Fields Too Large" in rest(connection)
    assert line.session.calls == 0


def test_head_that_comes_in_pieces_and_is_of_the_usual_size_is_accepted(
    scripted: Scripted, connected: Connected
) -> None:
    line = scripted("- say: one\n- say: two")
    connection = connected(line)
    whole = head(line.session.token, *(f"x-{n}: {'a' * 100}" for n in range(100))) + BODY
    for _ in range(2):
        for begin in range(0, len(whole), 1000):
            connection.sendall(whole[begin : begin + 1000])
        assert answer(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("more", [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 1000, b"POST / HTTP/1.1\r\n\r\n", b"?" * 1000],
                         ids=["many", "one", "nonsense"])  # fmt: skip
def test_what_comes_in_before_an_answer_is_not_served(
    provided: Any, fake: Any, connected: Connected, more: bytes
) -> None:
    connection = connected(provided)
    body = b'{"model":"slow","stream":true}'
    connection.sendall(head(provided.session.token, length=len(body)) + body + more)
    assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    with suppress(ConnectionError):
        connection.sendall(more)
    fake.go_on.set()
    assert rest(connection).endswith(b"0\r\n\r\n")
    assert len(fake.requests) == 1


# --- number --------------------------------------------------------------------------------------------------------


def test_connections_without_a_token_are_closed_for_new_ones(
    scripted: Scripted, connected: Connected, monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    monkeypatch.setattr(f"{CONNECTION}.MAX_CONNECTIONS", 20)
    line, other = scripted("- say: one\n- say: two"), scripted("- say: one")
    agent = connected(line)
    agent.sendall(head(line.session.token) + BODY)
    assert answer(agent).startswith(b"HTTP/1.1 200 ")
    strangers = [connected(line) for _ in range(100)]
    eventually(lambda: sum(map(is_open, strangers)) <= 9)  # half of 20, with the agent's
    assert line.ask("b").status_code == 200
    assert other.ask("b").status_code == 200
    agent.sendall(head(line.session.token) + BODY)
    assert answer(agent).startswith(b"HTTP/1.1 200 ")


def test_all_runs_together_have_a_limit(
    scripted: Scripted, connected: Connected, monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    monkeypatch.setattr(f"{CONNECTION}.MAX_CONNECTIONS", 20)
    lines = [scripted("- say: one\n- say: two") for _ in range(5)]
    assert lines[0].ask("a").status_code == 200
    strangers = [connected(line) for line in lines[1:] for _ in range(8)]
    eventually(lambda: sum(map(is_open, strangers)) <= 19)
    assert [line.ask("b").status_code for line in lines] == [200] * 5


def test_answer_in_progress_is_not_given_up_for_a_new_connection(
    provided: Any, fake: Any, connected: Connected, monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    monkeypatch.setattr(f"{CONNECTION}.MAX_CONNECTIONS", 4)
    body = b'{"model":"slow","stream":true}'
    agents = [connected(provided) for _ in range(2)]
    for agent in agents:
        agent.sendall(head(provided.session.token, length=len(body)) + body)
        assert agent.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert rest(connected(provided)) == b""
    fake.go_on.set()
    assert all(b"message_stop" in answer(agent) for agent in agents)


# --- time ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{SERVE}.server.SWEEP_S", 0.02)


@pytest.fixture
def impatient(watched: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{CONNECTION}.STALL_S", 0.0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("sent", [
    b"",
    b"GET / HTTP/1.1\r\nhost: x\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{",
], ids=["nothing", "half a head", "no more requests", "half a body"])  # fmt: skip
def test_connection_that_waits_without_a_token_is_closed(scripted: Scripted, connected: Connected, sent: bytes) -> None:
    connection = connected(scripted("- say: one"))
    with suppress(ConnectionError):
        connection.sendall(sent)
    rest(connection)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("part", ["body", "next head"])
def test_request_that_does_not_go_on_is_given_up_also_with_a_token(
    provided: Any, connected: Connected, part: str
) -> None:
    connection = connected(provided)
    whole = head(provided.session.token) + BODY
    sent = whole[:-10] if part == "body" else whole + whole[:20]
    with suppress(ConnectionError):
        connection.sendall(sent)
    rest(connection)
    assert provided.session.is_open


@pytest.mark.usefixtures("watched")
def test_agent_may_wait_between_requests_and_for_its_answer(
    provided: Any, fake: Any, connected: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, works = connected(provided), connected(provided)
    waits.sendall(head(provided.session.token) + BODY)
    assert answer(waits).startswith(b"HTTP/1.1 200 ")
    body = b'{"model":"slow","stream":true}'
    works.sendall(head(provided.session.token, length=len(body)) + body)
    assert works.recv(65536).startswith(b"HTTP/1.1 200 ")
    stranger = connected(provided)
    monkeypatch.setattr(f"{CONNECTION}.STALL_S", 0.0)
    rest(stranger)  # closed, so the others have been looked at
    fake.go_on.set()
    assert b"message_stop" in answer(works)
    waits.sendall(head(provided.session.token) + BODY)
    assert answer(waits).startswith(b"HTTP/1.1 200 ")


def test_requests_that_are_incomplete_do_not_hold_up_the_end_of_a_run(
    fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    monkeypatch.setattr(f"{SERVE}.server.STOP_S", 3600.0)
    upstream = provider_from("anthropic", {"ANTHROPIC_BASE_URL": fake.url, "ANTHROPIC_API_KEY": "k-1234"})
    cassette = Cassette(tmp_path / "model", Redactor({}))
    with ExitStack() as opened, listen(), listen() as listener:  # the first keeps the server's thread
        session = listener.open(upstream=upstream, cassette=cassette, emit=lambda _: None)
        before = session.last_activity
        whole = head(session.token) + BODY
        for length in (20, len(whole) - 10):
            connection = opened.enter_context(socket.create_connection(listener.address, 60))
            connection.sendall(whole[:length])
        eventually(lambda: session.last_activity > before)


# --- work ----------------------------------------------------------------------------------------------------------


def slowed(
    monkeypatch: pytest.MonkeyPatch, holder: Any, name: str
) -> tuple[threading.Event, threading.Event, set[str]]:
    """Makes a function wait when it is not called on the gateway's thread. Returns the event that it was called, the
    event that it may go on, and the threads it was called on."""
    function, called, go_on, threads = getattr(holder, name), threading.Event(), threading.Event(), set[str]()

    def waits(*arguments: Any) -> Any:
        threads.add(threading.current_thread().name)
        if threading.current_thread().name != "gateway":
            called.set()
            assert go_on.wait(60)
        return function(*arguments)

    monkeypatch.setattr(holder, name, waits)
    return called, go_on, threads


LARGE = {"bytes": "large " * 100_000, "pieces": [{"type": "text", "text": "x"}] * 2000}


@pytest.mark.parametrize("content", LARGE.values(), ids=LARGE)
@pytest.mark.parametrize("work", ["read", "record", "choose"])
def test_work_on_a_large_body_does_not_hold_up_other_runs(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch, work: str, content: Any
) -> None:
    from runbook_runner.gateway.serve import app

    line, other = scripted("- say: one\n- say: two"), scripted("- say: one\n- say: two")
    holder, name = {
        "read": (app, "_read"),
        "record": (line.cassette, "keep_json"),
        "choose": (line.session.connection, "_choose"),
    }[work]
    called, go_on, threads = slowed(monkeypatch, holder, name)
    agent = threading.Thread(target=line.ask, args=(content,))
    agent.start()
    assert called.wait(60)
    assert other.ask("small").status_code == 200
    go_on.set()
    agent.join(60)
    line.settled()
    assert line.ask("small").status_code == 200
    assert "gateway" in threads  # where a small body is worked on, with no way to a thread and back
    assert [event.status for event in line.events] == [200, 200]


def test_large_request_is_refused_when_its_session_closed_meanwhile(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runbook_runner.gateway.serve import app

    line = scripted("- say: one")
    called, go_on, _ = slowed(monkeypatch, app, "_read")
    statuses: list[int] = []
    agent = threading.Thread(target=lambda: statuses.append(line.ask("large " * 100_000).status_code))
    agent.start()
    assert called.wait(60)
    line.session.close()
    go_on.set()
    agent.join(60)
    assert statuses == [401]
    assert line.events == []


@pytest.mark.parametrize("piece", [b"1,", b'"",', b"[],", b"{},", b"[[[[[1]]]]],", b'{"a":{"a":{}}},'])
def test_body_of_too_many_values_is_refused(scripted: Scripted, piece: bytes) -> None:
    line = scripted("- say: one")
    body = b'{"model":"m","messages":[' + piece * (1 << 20) + b"1]}"
    response = line.client.post("/v1/messages", content=body)
    assert response.status_code == 413
    assert "1,048,576 JSON values at most" in response.json()["error"]["message"]
    assert line.session.calls == 0


def test_large_body_of_few_values_is_served(connect: Any, fake: Any) -> None:
    line = connect(provider_from("anthropic", {"ANTHROPIC_BASE_URL": fake.url, "ANTHROPIC_API_KEY": "k-1234"}))
    text = "A sentence, or two. [1]\n" * 300_000
    assert line.ask(text).status_code == 200
    assert line.cassette.read(1).request["messages"][0]["content"] == text


# --- credentials ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", [
    "key=TOKEN", "%6bey=TOKEN", "%6B%65%79=TOKEN", "key=TOKEN&key=TOKEN", "key=other&key=TOKEN", "KEY=TOKEN",
    "$key=other", "%24key=other", "access_token=other", "oauth_token=other", "x=TOKEN", "x=%54OKEN", "TOKEN",
    "alt=sse;key=TOKEN", "+key=other", "api-key=other",
])  # fmt: skip
def test_credentials_in_the_address_do_not_go_on_to_the_provider(provided: Any, fake: Any, query: str) -> None:
    token = provided.session.token
    spelt = query.replace("%54OKEN", "".join(f"%{ord(letter):02x}" for letter in token)).replace("TOKEN", token)
    assert provided.client.post(f"/v1/messages?beta=true&{spelt}", json={"model": "m"}).status_code == 200
    (sent,) = fake.requests
    assert sent["path"].removesuffix("&alt=sse") == "/v1/messages?beta=true"
    assert provided.cassette.calls()[0].path == sent["path"]


def test_encoded_key_is_a_token_as_the_plain_one_is(scripted: Scripted) -> None:
    line = scripted("- say: one")
    response = httpx.post(f"{line.url}/v1/messages?%6bey={line.session.token}", json={"model": "m"}, timeout=60)
    assert response.status_code == 200


def test_credentials_in_headers_do_not_go_on_to_the_provider(provided: Any, fake: Any, key: str) -> None:
    token = provided.session.token
    headers = [
        ("Authorization", f"Bearer {token}"), ("AUTHORIZATION", "Bearer other"), ("X-Api-Key", token),
        ("x-api-key", "other"), ("X-Goog-API-Key", token), ("x_api_key", "other"), ("Api-Key", "other"),
        ("Cookie", "other=1"), ("Proxy-Authorization", "Basic other"), ("X-Litellm-Api-Key", "other"),
        ("X-Note", f"my token is {token}"), ("X-App", "1"), ("Connection", "keep-alive"), ("Connection", "x-hop"),
        ("X-Hop", "other"),
    ]  # fmt: skip
    with httpx.Client(trust_env=False, timeout=60) as agent:
        assert agent.post(f"{provided.url}/v1/messages", json={"model": "m"}, headers=headers).status_code == 200
    (sent,) = fake.requests
    got = {name.lower(): value for name, value in sent["headers"].items()}
    assert got["x-app"] == "1"
    assert [name for name, value in got.items() if "other" in value or token in value] == []
    assert [value for value in got.values() if key in value] == [key]
