"""Host and bubblewrap sandboxes: a command at somebody's terminal, see `joining`."""

import fcntl
import os
import pty
import shutil
import struct
import termios
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from runbook_runner.errors import SandboxError
from runbook_runner.sandbox import Stream
from runbook_runner.sandbox.folder import FolderSandbox
from runbook_runner.sandbox.joining import SHELL

_BLOCK: Final = 1 << 16
_DAYS_S: Final = 30 * 86_400.0
_INTERRUPTED: Final = 130


class LocalJoined:
    """Implements `Joined`. With a terminal the command gets one of its own, never the user's: what runs there can't
    type into it. Without, it has our very streams, and there is nothing to carry."""

    def __init__(self, sandbox: FolderSandbox, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, tty: bool):
        """argv: empty for a shell. Raises SandboxError."""
        command = ["sh", "-c", SHELL, "runbook", cwd if sandbox.backend != "host" else sandbox.app, *argv]
        self._ours: int | None = None
        if not tty:
            self._process = sandbox.start_joined(command, env=env, streams=(0, 1, 2), deadline_s=_DAYS_S)
            return
        self._ours, theirs = pty.openpty()
        # Whoever reads the keys must be in charge of the terminal, or Ctrl-C is only a letter.
        in_charge = ["setsid", "--ctty", "--wait"] if shutil.which("setsid") else []
        try:
            streams = (theirs, theirs, theirs)
            self._process = sandbox.start_joined([*in_charge, *command], env=env, streams=streams, deadline_s=_DAYS_S)
        finally:
            os.close(theirs)

    @property
    def shares_input(self) -> bool:
        return self._ours is None

    def receive(self) -> tuple[Stream, bytes] | None:
        if self._ours is not None:
            with suppress(OSError):  # EIO: nobody has the other end any more
                if data := os.read(self._ours, _BLOCK):
                    return "stdout", data
        return None

    def send(self, data: bytes) -> None:
        left = memoryview(data)
        while left and self._ours is not None:
            left = left[os.write(self._ours, left) :]

    def end_input(self) -> None:
        pass

    def resize(self, rows: int, columns: int) -> None:
        if self._ours is not None:
            with suppress(OSError):
                fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait(self) -> int:
        ended = self._process.wait()
        if self._ours is not None:
            os.close(self._ours)
        if ended.code is None and ended.ended_by == "deadline":
            raise SandboxError("The shell has outlived its time.")
        return _INTERRUPTED if ended.code is None else ended.code
