"""Docker sandbox: a command in a container at the user's terminal."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from docker.errors import APIError, NotFound

from runbook_runner.core import settings
from runbook_runner.core.errors import SandboxError
from runbook_runner.sandbox.attach import GONE, in_folder
from runbook_runner.sandbox.base import Stream
from runbook_runner.sandbox.docker.engine import Engine, engine_errors
from runbook_runner.sandbox.docker.exec_socket import Frames, start_exec

_STREAMS: Final[Mapping[int, Stream]] = {1: "stdout", 2: "stderr"}
_BLOCK: Final = 1 << 16
_END_S: Final = 10.0
_SIGKILLED: Final = 128 + 9


class ContainerAttached:
    """Implements `Attached`."""

    shares_input = False

    def __init__(self, engine: Engine, container: str, argv: Sequence[str], *, env: Mapping[str, str], tty: bool):
        """See `Sandbox.attach`."""
        self._engine = engine
        self._container = container
        self._tty = tty
        command = in_folder(settings.APP, argv)
        with engine_errors("start a command in the container"):
            made = engine.api.exec_create(container, command, stdin=True, tty=tty, environment=dict(env))
        self._exec = str(made["Id"])
        self._connection = start_exec(engine, self._exec, tty=tty)
        self._frames = Frames(self._connection)

    def receive(self) -> tuple[Stream, bytes] | None:
        with suppress(OSError):
            if self._tty:
                data = self._connection.recv(_BLOCK)
                return ("stdout", data) if data else None
            number, data = self._frames.next()
            return (_STREAMS.get(number, "stdout"), data) if number else None
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
                if state["ExitCode"] == _SIGKILLED and not self._container_lives():
                    raise SandboxError(GONE)
                return int(state["ExitCode"])
            time.sleep(0.02)
        raise SandboxError("The command's output has ended, but the command has not.", hint="Did the container end?")

    def _container_lives(self) -> bool:
        """The engine hears of a command's end before it hears of its container's."""
        time.sleep(0.3)
        return self._engine.has_container(self._container)
