"""Docker sandbox: a command in a container with its input open: both directions over one connection of our own.

The engine's answer to a request for an upgrade is followed by what the command writes, at once; a client that reads
ahead loses the first of it. So the head of the answer is read here, byte by byte. (Docker Engine API, "start an exec".)
"""

import json
import select
import socket
import ssl
import threading
from contextlib import suppress
from typing import Final

from runbook_runner.core.errors import SandboxError
from runbook_runner.sandbox.docker.engine import Engine, engine_errors

_HEAD_LIMIT: Final = 1 << 16
_STDOUT: Final = 1
_BLOCK: Final = 1 << 16
_WAIT_MS: Final = 1000


class Connection:
    """Both directions at once, from two threads: a TLS connection allows that only when neither waits inside it."""

    def __init__(self, connection: socket.socket):
        connection.setblocking(False)
        self._connection = connection
        self._using = threading.Lock()

    def recv(self, size: int) -> bytes:
        """Waits for some; empty at the end. Raises OSError."""
        while True:
            try:
                with self._using:
                    return self._connection.recv(size)
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(for_reading=True)
            except ssl.SSLWantWriteError:
                self._wait(for_reading=False)

    def sendall(self, data: bytes) -> None:
        """From one thread at a time. Raises OSError."""
        left = memoryview(data)
        while left:
            try:
                with self._using:
                    left = left[self._connection.send(left) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(for_reading=False)
            except ssl.SSLWantReadError:
                self._wait(for_reading=True)

    def _wait(self, *, for_reading: bool) -> None:
        """A while at most: closed in this moment, its number may be another file's by now."""
        if (number := self._connection.fileno()) < 0:
            raise OSError("the connection is closed")
        waiting = select.poll()  # `select` takes no number above 1023
        waiting.register(number, select.POLLIN if for_reading else select.POLLOUT)
        waiting.poll(_WAIT_MS)

    def end_input(self) -> None:
        """The command reads to the end of its input; its output still comes."""
        with suppress(OSError), self._using:
            self._connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Whoever waits for it is woken."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


def start_exec(engine: Engine, exec_id: str, *, tty: bool) -> Connection:
    """The connection to a command that was created with its input attached: what is sent is its input; what is received
    is its output, without a terminal in frames (see `Frames`). Raises SandboxError."""
    body = json.dumps({"Detach": False, "Tty": tty}).encode()
    request = (
        f"POST /v{engine.api.api_version}/exec/{exec_id}/start HTTP/1.1\r\nHost: docker\r\n"
        "Content-Type: application/json\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with engine_errors("start a command in the container"):
        connection = engine.dial()
        try:
            connection.sendall(request.encode() + body)
            _accept(connection)
        except BaseException:
            connection.close()
            raise
    return Connection(connection)


def _accept(connection: socket.socket) -> None:
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte or len(head) > _HEAD_LIMIT:
            raise OSError("it closed the connection")
        head += byte
    status = bytes(head.split(None, 2)[1])
    if status not in (b"101", b"200"):
        said = connection.recv(4096).decode(errors="replace").strip()
        raise SandboxError(f"The engine did not start a command in the container: {said or status.decode()}")


class Frames:
    """The standard output in what a connection without a terminal brings, as a stream of bytes; what was written to
    stderr is kept apart."""

    def __init__(self, connection: Connection):
        self.stderr = b""
        self._connection = connection
        self._left = bytearray()

    def read(self, size: int) -> bytes:
        """Exactly so much, less only at the end."""
        while len(self._left) < size:
            stream, content = self.next()
            if not stream:
                break
            if stream == _STDOUT:
                self._left += content
            else:
                self.stderr = (self.stderr + content)[-4096:]
        taken = bytes(self._left[:size])
        del self._left[:size]
        return taken

    def next(self) -> tuple[int, bytes]:
        """The next piece and the number of its stream; 0 at the end."""
        head = self._exactly(8)
        if len(head) < 8:
            return 0, b""
        return head[0], self._exactly(int.from_bytes(head[4:], "big"))

    def _exactly(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size and (data := self._connection.recv(min(size - len(found), _BLOCK))):
            found += data
        return bytes(found)
