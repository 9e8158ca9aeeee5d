"""One server for the process: its sockets are the runs' own, its thread is shared and ends with the last of them."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from runbook_runner.core.network.unix_sockets import connect_unix
from runbook_runner.core.redaction import Redactor
from runbook_runner.gateway import Cassette, Listener, Session, listen, load_script

QUESTION = {"model": "m", "messages": [{"role": "user", "content": "a"}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.yaml").write_text("- say: one\n- say: two")
    return tmp_path


def open_at(listener: Listener, folder: Path, name: str) -> Session:
    cassette = Cassette(folder / name, Redactor({}))
    return listener.open(upstream=load_script(folder / "model.yaml"), cassette=cassette, emit=lambda _: None)


def ask(listener: Listener, token: str) -> int:
    url = "http://{}:{}/v1/messages".format(*listener.address)
    return httpx.post(url, json=QUESTION, headers={"x-api-key": token}, trust_env=False, timeout=60).status_code


def server_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "gateway"]


def listening_sockets() -> int:
    """TCP sockets of this process that listen."""
    mine = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that lists the folder is closed by now
            mine.add(str(descriptor.readlink()))
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return sum(f"socket:[{row[9]}]" in mine for row in rows if row[3] == "0A")


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(60)
    with connection, suppress(ConnectionResetError):
        return connection.recv(1) == b""
    return True


@pytest.mark.needs("linux")
def test_hundred_runs_share_one_server_and_have_a_socket_each(folder: Path) -> None:
    before = listening_sockets()
    with ExitStack() as runs:
        listeners = [runs.enter_context(listen()) for _ in range(100)]
        sessions = [open_at(listener, folder, str(number)) for number, listener in enumerate(listeners)]
        assert len(server_threads()) == 1
        assert listening_sockets() - before == 100
        assert len({listener.address for listener in listeners}) == 100
        with ThreadPoolExecutor(8) as agents:
            tokens = [session.token for session in sessions]
            assert list(agents.map(ask, listeners, tokens)) == [200] * 100
        assert [session.calls for session in sessions] == [1] * 100
    assert listening_sockets() == before
    assert server_threads() == []


def test_token_of_another_run_is_refused(folder: Path) -> None:
    with listen() as one, listen() as other:
        mine, foreign = open_at(one, folder, "one"), open_at(other, folder, "other")
        assert (ask(one, foreign.token), ask(one, mine.token)) == (401, 200)
        assert foreign.calls == 0


def test_run_that_ends_leaves_the_others_alone(folder: Path) -> None:
    with listen() as lasting:
        session = open_at(lasting, folder, "lasting")
        with listen() as short, httpx.Client(trust_env=False, timeout=60) as agent:
            assert agent.get("http://{}:{}/".format(*short.address)).status_code == 200
        assert ask(lasting, session.token) == 200
        assert len(server_threads()) == 1


def test_connections_end_with_their_run_even_new_ones(folder: Path) -> None:
    with listen():  # the server goes on
        for _ in range(30):
            with listen() as short:
                connections = [socket.create_connection(short.address, 60) for _ in range(3)]
            assert all(map(is_closed, connections))


def test_runs_that_begin_and_end_at_once_all_get_their_answers(folder: Path) -> None:
    def run(number: int) -> int:
        with listen() as listener:
            return ask(listener, open_at(listener, folder, str(number)).token)

    with ThreadPoolExecutor(8) as runs:
        assert list(runs.map(run, range(40))) == [200] * 40
    assert server_threads() == []


def test_runs_without_a_network_have_unix_sockets(folder: Path, tmp_path: Path) -> None:
    with listen(f"unix:{tmp_path / 'a'}") as one, listen(f"unix:{tmp_path / 'b'}") as other:
        token = open_at(one, folder, "one").token
        assert one.address == (f"unix:{tmp_path / 'a'}", 0)
        assert [over_unix(tmp_path / name, token) for name in "ab"] == ["200", "401"]
        assert open_at(other, folder, "other").calls == 0


def over_unix(path: Path, token: str) -> str:
    body = '{"model": "m", "messages": []}'
    head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {token}\r\nconnection: close\r\n"
    with connect_unix(path) as connection:
        connection.settimeout(60)
        connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
        return connection.recv(100).decode().split()[1]


def test_connections_to_a_provider_are_shared_by_runs(connect: Any, fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from runbook_runner.gateway import provider_from

    ports, answer = [], fake.answer

    def note(http: Any, body: Any) -> None:
        ports.append(http.client_address[1])
        answer(http, body)

    monkeypatch.setattr(fake, "answer", note)
    environ = {"ANTHROPIC_BASE_URL": fake.url, "ANTHROPIC_API_KEY": "k-1234"}
    for _ in range(3):
        assert connect(provider_from("anthropic", environ)).ask("a").status_code == 200
    assert len(set(ports)) == 1
