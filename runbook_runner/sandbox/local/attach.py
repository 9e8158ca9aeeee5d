"""Host and bubblewrap sandboxes: a command at somebody's terminal, see `joining`."""

import fcntl
import os
import pty
import shutil
import struct
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from runbook_runner.core.errors import SandboxError
from runbook_runner.sandbox.attach import GONE, SHELL
from runbook_runner.sandbox.base import Stream
from runbook_runner.sandbox.local.folder_sandbox import FolderSandbox
from runbook_runner.sandbox.local.process import HostProcess

_BLOCK: Final = 1 << 16
_DAYS_S: Final = 30 * 86_400.0
_INTERRUPTED: Final = 130
_SIGKILLED: Final = 128 + 9
_POLL_S: Final = 0.5


class LocalJoined:
    """Implements `Joined`. Ends with the sandbox, whoever removes it. With a terminal the command gets one of its own,
    never the user's: what runs there can't type into it. Without, it has our very streams, and there is nothing to
    carry."""

    def __init__(self, sandbox: FolderSandbox, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, tty: bool):
        """argv: empty for a shell. Raises SandboxError."""
        command = ["sh", "-c", SHELL, "runbook", cwd if sandbox.backend != "host" else sandbox.app, *argv]
        self._ours: int | None = None
        self._folder = Path(sandbox.sandbox_id)
        self._process = self._start(sandbox, command, env, tty=tty)
        self._over = threading.Event()
        threading.Thread(target=self._watch, name="joined", daemon=True).start()

    def _start(self, sandbox: FolderSandbox, command: list[str], env: Mapping[str, str], *, tty: bool) -> HostProcess:
        if not tty:
            return sandbox.start_joined(command, env=env, streams=(0, 1, 2), deadline_s=_DAYS_S)
        self._ours, theirs = pty.openpty()
        # Whoever reads the keys must be in charge of the terminal, or Ctrl-C is only a letter.
        in_charge = ["setsid", "--ctty", "--wait"] if shutil.which("setsid") else []
        try:
            streams = (theirs, theirs, theirs)
            return sandbox.start_joined([*in_charge, *command], env=env, streams=streams, deadline_s=_DAYS_S)
        finally:
            os.close(theirs)

    def _watch(self) -> None:
        """Nobody else ends it: a sandbox knows only what was started by its own process."""
        while not self._over.wait(_POLL_S):
            if not self._folder.exists():
                return self._process.kill()
        return None

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
        self._over.set()
        if self._ours is not None:
            os.close(self._ours)
        if ended.code is None and ended.ended_by == "deadline":
            raise SandboxError("The shell has outlived its time.")
        if ended.code in (None, _SIGKILLED) and not self._folder_stays():
            raise SandboxError(GONE)
        return _INTERRUPTED if ended.code is None else ended.code

    def _folder_stays(self) -> bool:
        """A control group's processes end before the folder goes."""
        time.sleep(0.3)
        return self._folder.exists()
