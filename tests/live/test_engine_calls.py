"""What a run asks of the Docker engine: every call takes a twentieth of a second or more, so none comes unnoticed."""

import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HELLO = Path(__file__).parents[2] / "examples" / "hello"
SOCKET = Path("/var/run/docker.sock")
_REQUEST = re.compile(rb"(DELETE|GET|HEAD|POST|PUT) (?:/v[\d.]+)?/([^ ?]+)\S* HTTP/1\.1\r$", re.MULTILINE)
"""On a connection that is kept, the first line of a request follows the content of the one before."""


class Wiretap:
    """Passes everything on to the engine and keeps what was asked."""

    def __init__(self, path: Path):
        self._said: list[bytearray] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def asked(self, about: str = "") -> list[str]:
        """`POST containers/ID/start`; about: only what has this in its path, `…` in its place."""
        found = [match for said in self._said for match in _REQUEST.findall(bytes(said))]
        lines = [f"{method.decode()} {path.decode()}" for method, path in found]
        return sorted(line.replace(about, "…") if about else line for line in lines if about in line)

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            engine = socket.socket(socket.AF_UNIX)
            engine.connect(str(SOCKET))
            self._said.append(bytearray())
            threading.Thread(target=_carry, args=(client, engine, self._said[-1]), daemon=True).start()
            threading.Thread(target=_carry, args=(engine, client, bytearray()), daemon=True).start()


def _carry(source: socket.socket, target: socket.socket, kept: bytearray) -> None:
    try:
        while data := source.recv(1 << 16):
            kept += data
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


@pytest.fixture
def wiretap(tmp_path: Path) -> Iterator[Wiretap]:
    tap = Wiretap(tmp_path / "engine.sock")
    yield tap
    tap.close()


@pytest.mark.needs("docker")
@pytest.mark.skipif(not SOCKET.exists(), reason="the engine is not at its usual socket")
def test_a_run_asks_the_engine_for_nothing_twice(runbook: Any, wiretap: Wiretap, tmp_path: Path) -> None:
    assert runbook("run", HELLO, "--sandbox", "docker").code == 0  # builds the image
    through = {"DOCKER_HOST": f"unix://{tmp_path / 'engine.sock'}"}
    ran = runbook("run", HELLO, "--sandbox", "docker", "--json", env=through)
    assert ran.code == 0, ran.err
    (started,) = ran.events("sandbox.started")
    assert wiretap.asked(started["sandbox_id"]) == [
        "DELETE containers/…",
        "GET containers/…/archive",
        "GET containers/…/json",
        *["HEAD containers/…/archive"] * 2,
        "POST containers/…/exec",
        "POST containers/…/start",
    ], "the files come in with the command, and the image's lists of users are no pipes"
    for once in ("_ping", "info", "containers/create"):
        assert len(wiretap.asked(once)) == 1, once
    assert len(wiretap.asked("images/")) <= 3, "the base, the snapshot, and by its id whose user the commands have"
    commands = [line for line in wiretap.asked("exec/") if line.startswith("POST")]
    assert len(commands) == 1, "nothing but the agent"
