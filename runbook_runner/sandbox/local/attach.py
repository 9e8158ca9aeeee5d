"""Host and bubblewrap sandboxes: a command at the user's terminal."""

import fcntl
import os
import pty
import struct
import termios
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from runbook_runner.core.errors import SandboxError
from runbook_runner.core.programs import find_program
from runbook_runner.sandbox.attach import GONE, in_folder
from runbook_runner.sandbox.base import Stream
from runbook_runner.sandbox.local.process import HostProcess

_BLOCK: Final = 1 << 16
_DAYS_S: Final = 30 * 86_400.0
_INTERRUPTED: Final = 130
_SIGKILLED: Final = 128 + 9
_POLL_S: Final = 0.5


Streams = tuple[int, int, int]
"""Descriptors of stdin, stdout and stderr."""


class LocalAttached:
    """Implements `Attached`. Ends with the sandbox, whichever process removes it. With a terminal the command gets one
    of its own, never the user's: what runs there can't type into it. Without, it has this process' own streams, and
    there is nothing to carry."""

    def __init__(
        self,
        start: Callable[[list[str], Streams, float], HostProcess],
        folder: Path,
        app: str,
        argv: Sequence[str],
        *,
        tty: bool,
    ):
        """start: starts a command line in the sandbox with these streams and so many seconds to live. folder: the
        sandbox's own. argv: see `Sandbox.attach`. Raises what `start` raises."""
        self._terminal: int | None = None
        self._folder = folder
        self._process = self._start(start, in_folder(app, argv), tty=tty)
        self._over = threading.Event()
        threading.Thread(target=self._watch, name="attached", daemon=True).start()

    def _start(
        self, start: Callable[[list[str], Streams, float], HostProcess], command: list[str], *, tty: bool
    ) -> HostProcess:
        if not tty:
            return start(command, (0, 1, 2), _DAYS_S)
        self._terminal, far_end = pty.openpty()
        # The process that reads the keys must be in charge of the terminal, or Ctrl-C is only a letter.
        in_charge = ["setsid", "--ctty", "--wait"] if find_program("setsid") else []
        try:
            return start([*in_charge, *command], (far_end, far_end, far_end), _DAYS_S)
        finally:
            os.close(far_end)

    def _watch(self) -> None:
        """A sandbox ends only what was started by its own process, and this may be another one."""
        while not self._over.wait(_POLL_S):
            if not self._folder.exists():
                return self._process.kill()
        return None

    @property
    def shares_input(self) -> bool:
        return self._terminal is None

    def receive(self) -> tuple[Stream, bytes] | None:
        if self._terminal is not None:
            with suppress(OSError):  # EIO: the other end is closed
                if data := os.read(self._terminal, _BLOCK):
                    return "stdout", data
        return None

    def send(self, data: bytes) -> None:
        left = memoryview(data)
        while left and self._terminal is not None:
            left = left[os.write(self._terminal, left) :]

    def end_input(self) -> None:
        pass

    def resize(self, rows: int, columns: int) -> None:
        if self._terminal is not None:
            with suppress(OSError):
                fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait(self) -> int:
        ended = self._process.wait()
        self._over.set()
        if self._terminal is not None:
            os.close(self._terminal)
        if ended.code is None and ended.ended_by == "deadline":
            raise SandboxError("The shell has outlived its time.")
        if ended.code in (None, _SIGKILLED) and not self._folder_stays():
            raise SandboxError(GONE)
        return _INTERRUPTED if ended.code is None else ended.code

    def _folder_stays(self) -> bool:
        """Waits a moment: the processes of a control group end before the folder is removed."""
        time.sleep(0.3)
        return self._folder.exists()
