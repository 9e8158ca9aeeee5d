"""The way out of a container whose engine is elsewhere: many connections over one pair of pipes, whatever comes."""

import io
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

import runbook_runner.sandbox.network.inside.tunnel as inside
from runbook_runner.sandbox.network.inside.tunnel import BLOCK, CLOSE, DATA, END, HEAD, OPEN, STREAMS, Tunnel

FOLDER = Path(inside.__file__).parent


@pytest.fixture(params=["python", pytest.param("node", marks=pytest.mark.needs("node"))])
def inner(request):
    """The inside end as a process of this machine, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    source = (FOLDER / f"tunnel.{'py' if request.param == 'python' else 'js'}").read_text()
    python = [sys.executable, "-I", "-S", "-c", source, str(port)]
    node = [shutil.which("node") or "node", "-e", source, "--", str(port)]
    command = python if request.param == "python" else node
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    yield process, port
    process.kill()
    process.wait(60)


@pytest.fixture
def echo():
    """A server that sends back what it gets, and the function that connects to it."""
    server = socket.create_server(("127.0.0.1", 0), backlog=64)

    def answer(connection):
        with connection, suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)

    def accept():
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield lambda index: socket.create_connection(server.getsockname())
    server.close()


def outer(process, connect):
    tunnel = Tunnel(process.stdout.read, lambda data: os.write(process.stdin.fileno(), data), connect)
    threading.Thread(target=tunnel.run, daemon=True).start()


def say_and_hear(port, said):
    with socket.create_connection(("127.0.0.1", port)) as connection:

        def say():
            connection.sendall(said)
            connection.shutdown(socket.SHUT_WR)

        threading.Thread(target=say, daemon=True).start()
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_many_connections_at_once_keep_apart_and_whole(inner, echo):
    process, port = inner
    outer(process, echo)
    said = [bytes([number]) * number * 150_000 for number in range(20)]
    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(lambda one: say_and_hear(port, one), said)) == said


def test_one_that_does_not_read_holds_up_no_other(inner, echo):
    process, port = inner
    outer(process, echo)
    with socket.create_connection(("127.0.0.1", port)) as lazy:
        lazy.setblocking(False)
        while select.select([], [lazy], [], 0.5)[1]:  # until all buffers on its way are full
            lazy.send(b"x" * 65536)
        assert say_and_hear(port, b"hello" * 100_000) == b"hello" * 100_000


def test_a_target_that_refuses_closes_the_connection(inner):
    def refuse(index):
        raise ConnectionRefusedError

    process, port = inner
    outer(process, refuse)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(60)
        with suppress(ConnectionResetError):
            assert connection.recv(10) == b""


def test_the_inside_ends_with_the_outside(inner):
    process, _ = inner
    process.stdin.close()
    assert process.wait(60) == 0


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\xff" * 1000,
        HEAD.pack(1, DATA, BLOCK + 1),
        HEAD.pack(7, DATA, 3) + b"abc" + HEAD.pack(7, END, 0) + HEAD.pack(7, CLOSE, 0),
        b"".join(HEAD.pack(number, OPEN, 99) for number in range(2000)),
        HEAD.pack(1, OPEN, 0) + (HEAD.pack(1, DATA, BLOCK) + b"x" * BLOCK) * 40,
        HEAD.pack(1, OPEN, 0) * 2 + HEAD.pack(1, 9, 2**32 - 1) + struct.pack(">I", 1),
    ],
)
def test_whatever_a_sandbox_sends_is_survived(rubbish):
    """The other end belongs to the agent: it may ask for ports that are not there, and send more than it may."""
    reading, writing = os.pipe()
    held = []

    def connect(index):
        if index:
            raise OSError("there is no such port")
        ours, theirs = socket.socketpair()
        held.append(theirs)  # is never read
        return ours

    source, sent = os.fdopen(reading, "rb"), []
    tunnel = Tunnel(source.read, sent.append, connect)
    thread = threading.Thread(target=tunnel.run)
    thread.start()
    with suppress(BrokenPipeError), os.fdopen(writing, "wb") as sink:
        sink.write(rubbish)
    thread.join(60)
    assert not thread.is_alive()
    source.close()
    for one in held:
        one.close()
    assert sum(map(len, sent)) < 100_000


def test_connections_that_are_closed_before_they_stand_are_bounded() -> None:
    frames = b"".join(HEAD.pack(1, kind, 0) for _ in range(STREAMS + 50) for kind in (OPEN, CLOSE))
    source, connecting, never = io.BytesIO(frames), [], threading.Event()

    def connect(index):
        connecting.append(index)
        never.wait(60)
        raise OSError("it does not answer")

    Tunnel(source.read, lambda data: None, connect).run()
    never.set()
    assert len(connecting) <= STREAMS
