"""Docker sandbox: a command in a container over a connection of our own, and the user's terminal at such a command.

The engine's answer to a request for an upgrade is followed by the command's output at once. A client that reads ahead
loses the beginning of that output, as docker-py does (docker/docker-py#2042, #3332), so the head of the answer is read
here byte by byte. Every command is started and read this way. (Docker Engine API, "start an exec instance".)
"""

import json
import select
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from docker.errors import APIError, NotFound

from runbook_runner.core import settings
from runbook_runner.core.errors import NotReadyError, SandboxError
from runbook_runner.core.text import printable_name
from runbook_runner.sandbox.attach import GONE, in_folder
from runbook_runner.sandbox.base import Stream
from runbook_runner.sandbox.docker.creation import ImageUser, image_user
from runbook_runner.sandbox.docker.engine import NEEDS, Engine, engine_errors
from runbook_runner.sandbox.docker.limits.standstill import is_starting, require_started
from runbook_runner.sandbox.docker.scripts import settled

STREAMS: Final[Mapping[int, Stream]] = {1: "stdout", 2: "stderr"}
"""By their number in a frame."""
SYSTEM_FOLDERS: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HEAD_LIMIT: Final = 1 << 16
_BLOCK: Final = 1 << 16
_WAIT_MS: Final = 1000
_START_S: Final = 60.0  # for the engine to start a command: what runs in the container can keep it from coming up
_SCRIPT_START_S: Final = 10.0
_ANSWER_S: Final = settings.GRACE_S + 25  # for the first output of one of our scripts
_END_S: Final = 10.0
_SIGKILLED: Final = 128 + 9


class ExecRefusedError(SandboxError):
    """The engine did not start the command."""


class Connection:
    """Both directions at once, from two threads: a TLS connection allows that only when neither waits inside it."""

    def __init__(self, connection: socket.socket, timeout_s: float | None = None):
        """timeout_s: how long `recv` waits for data; `None`: without end."""
        connection.setblocking(False)
        self._connection = connection
        self.timeout_s = timeout_s
        self._using = threading.Lock()

    def recv(self, size: int) -> bytes:
        """Waits for data; returns none at the end. Raises OSError, among them TimeoutError."""
        began = time.monotonic()
        while True:
            try:
                with self._using:
                    return self._connection.recv(size)
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(for_reading=True)
            except ssl.SSLWantWriteError:
                self._wait(for_reading=False)
            if self.timeout_s is not None and time.monotonic() - began > self.timeout_s:
                raise TimeoutError("the command does not answer")

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
        """Waits for a second at most: once the connection is closed, its descriptor may be another file's."""
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
        """Wakes a thread that waits for data."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


class Frames:
    """What a connection without a terminal brings: frames of a stream's number, three zeros, a length and so many
    bytes (Docker Engine API, "attach to a container")."""

    def __init__(self, connection: Connection):
        self.stderr = b""
        """The last of what `read` left out."""
        self._connection = connection
        self._left = bytearray()

    def read(self, size: int) -> bytes:
        """Returns exactly so many bytes of the standard output, fewer only at the end."""
        while len(self._left) < size:
            stream, content = self.next()
            if not stream:
                break
            if STREAMS.get(stream) == "stdout":
                self._left += content
            else:
                self.stderr = (self.stderr + content)[-4096:]
        taken = bytes(self._left[:size])
        del self._left[:size]
        return taken

    def next(self) -> tuple[int, bytes]:
        """Returns the number of the next frame's stream and its content; 0 at the end."""
        head = self._exactly(8)
        if len(head) < 8:
            return 0, b""
        return head[0], self._exactly(int.from_bytes(head[4:], "big"))

    def _exactly(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size and (data := self._connection.recv(min(size - len(found), _BLOCK))):
            found += data
        return bytes(found)


def start_exec(
    engine: Engine, exec_id: str, *, tty: bool = False, start_s: float = _START_S, timeout_s: float | None = None
) -> Connection:
    """Starts a command that was created, and returns the connection to it: what is sent is its input, if that was
    attached; what is received is its output, without a terminal in frames. start_s: until it has started. timeout_s:
    see `Connection`. Raises ExecRefusedError, OSError, among them TimeoutError."""
    body = json.dumps({"Detach": False, "Tty": tty}).encode()
    request = (
        f"POST /v{engine.api.api_version}/exec/{exec_id}/start HTTP/1.1\r\nHost: docker\r\n"
        "Content-Type: application/json\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    connection = engine.dial(engine.at_most(start_s))
    engine.starting.add(exec_id)
    try:
        connection.sendall(request.encode() + body)
        _accept(connection)
    except BaseException as error:
        connection.close()
        if isinstance(error, ExecRefusedError):
            engine.starting.discard(exec_id)
        raise
    return Connection(connection, timeout_s)


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
        raise ExecRefusedError(f"The engine did not start a command in the container: {said or status.decode()}")


def user_of(engine: Engine, container: str) -> ImageUser:
    """Returns the user whom commands run as: the image's; the container's own is always root. Raises NotReadyError,
    SandboxError."""
    with engine_errors("ask for the image's user"):
        return image_user(engine, engine.api.inspect_container(container)["Image"])


def exec_as_root(engine: Engine, container: str, command: list[str], *, stdin: bool = False) -> str:
    """Returns the id of a command that is to be started. An agent that is not root may have put programs into folders
    of PATH, so the system's come first then. Raises SandboxError, one of `BROKEN`."""
    require_started(engine, container)
    about, environment = engine.api.inspect_container(container), {}
    if engine.image(about["Image"])["Config"].get("User"):
        paths = [line for line in about["Config"]["Env"] or () if line.startswith("PATH=")]
        environment["PATH"] = ":".join([SYSTEM_FOLDERS, *(line.partition("=")[2] for line in paths)])
    made = engine.api.exec_create(container, command, user="0", stdin=stdin, environment=environment)
    return str(made["Id"])


def require_user(engine: Engine, container: str, user: str) -> None:
    """Raises NotReadyError when no command can run as that user, which the engine finds out when one is started,
    SandboxError, one of `BROKEN`."""
    try:
        made = engine.api.exec_create(container, ["echo", "ready"], user=user)
        said = _first_output(engine, container, made["Id"])
    except ExecRefusedError as error:
        said = str(error).encode()
    if said != b"ready\n":
        reason = said.decode(errors="replace").strip()
        raise NotReadyError(f"No command can run as the image's user {printable_name(user)!r}: {reason}", hint=NEEDS)


def first_output(engine: Engine, container: str, command: list[str]) -> bytes:
    """Runs a command as root and returns the first piece of its output; empty when it has none. Does not wait for its
    end, which the engine reports seconds late while something holds the output of another command that has ended.
    Raises SandboxError, such as ExecRefusedError, TimeoutError, one of `BROKEN`."""
    return _first_output(engine, container, exec_as_root(engine, container, command))


def _first_output(engine: Engine, container: str, exec_id: str) -> bytes:
    connection = start_exec(engine, exec_id, start_s=_SCRIPT_START_S, timeout_s=_SCRIPT_START_S)
    try:
        frames = Frames(connection)
        try:
            said = frames.next()[1]
        except TimeoutError:
            if is_starting(engine, exec_id, container):
                raise
            connection.timeout_s = _ANSWER_S
            said = frames.next()[1]
        engine.starting.discard(exec_id)
        return said
    finally:
        connection.close()


class ContainerAttached:
    """Implements `Attached`."""

    shares_input = False

    def __init__(
        self, engine: Engine, container: str, argv: Sequence[str], *, user: ImageUser, env: Mapping[str, str], tty: bool
    ):
        """See `Sandbox.attach`."""
        self._engine = engine
        self._container = container
        self._tty = tty
        with engine_errors("start a command in the container"):
            command = settled(in_folder(settings.APP, argv))
            made = engine.api.exec_create(
                container, command, user=user.ids, stdin=True, tty=tty, environment={**user.variables, **env}
            )
            self._exec = str(made["Id"])
            self._connection = start_exec(engine, self._exec, tty=tty)
        self._frames = Frames(self._connection)

    def receive(self) -> tuple[Stream, bytes] | None:
        with suppress(OSError):
            if self._tty:
                data = self._connection.recv(_BLOCK)
                return ("stdout", data) if data else None
            number, data = self._frames.next()
            return (STREAMS.get(number, "stdout"), data) if number else None
        return None

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def end_input(self) -> None:
        if not self._tty:
            self._connection.end_input()

    def resize(self, rows: int, columns: int) -> None:
        with suppress(APIError):  # it has ended in this moment
            self._engine.api.exec_resize(self._exec, height=rows, width=columns)

    def wait(self) -> int:
        until = time.monotonic() + _END_S
        while time.monotonic() < until:
            with engine_errors("ask how the command ended"):
                try:
                    state = self._engine.api.exec_inspect(self._exec)
                except NotFound as error:
                    raise SandboxError(GONE) from error
            if not state["Running"] and state["ExitCode"] is not None:
                self._connection.close()
                if state["ExitCode"] == _SIGKILLED and not self._engine.outlived(self._container):
                    raise SandboxError(GONE)
                return int(state["ExitCode"])
            time.sleep(0.02)
        raise SandboxError("The command's output has ended, but the command has not.", hint="Did the container end?")
