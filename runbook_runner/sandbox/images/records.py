"""Docker sandbox: a request that the engine answers with records, one after the other, on a connection of its own: it
ends when that is closed, and is closed when it takes too long. docker-py has no such deadline."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from typing import Any, Final

from runbook_runner.core.formats.json_toml import read_json
from runbook_runner.sandbox.docker.engine import Engine

LONGEST_S: Final = 3600.0
"""Seconds that any such request may take."""
_MAX_RECORD: Final = 4 << 20


class RefusedError(Exception):
    """The engine does not do what it was asked, with its reason."""


@dataclass(frozen=True)
class Dialled:
    connection: HTTPConnection
    late: threading.Event
    """It took too long, and is shut."""
    timer: threading.Timer
    sock: socket.socket


@contextmanager
def dialled(engine: Engine, left_s: float, before_end: Callable[[], object] = lambda: None) -> Iterator[Dialled]:
    """left_s: seconds until the connection is shut. before_end: is called just before. Raises OSError."""
    connection = HTTPConnection("docker")
    connection.sock = plain = engine.dial()
    plain.settimeout(None)
    late = threading.Event()

    def end() -> None:
        late.set()
        before_end()
        with suppress(OSError):
            plain.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(left_s, 0.0), end)
    timer.daemon = True
    timer.start()
    try:
        yield Dialled(connection, late, timer, plain)
    finally:
        timer.cancel()
        connection.close()


def records(response: HTTPResponse) -> Iterator[dict[str, Any]]:
    """Raises RefusedError for an answer that is an error."""
    if response.status >= 400:
        said = response.read(_MAX_RECORD).decode(errors="replace")
        with suppress(ValueError, LookupError, TypeError):
            said = str(json.loads(said)["message"])
        raise RefusedError(said)
    while line := response.readline(_MAX_RECORD):
        if line.strip():
            yield dict(read_json(line, "the engine's answer"))
