"""Sandboxes without an engine: one command, under a supervisor that ends with the runner and ends what it started."""

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, cast

from runbook_runner.core import settings
from runbook_runner.core.errors import SandboxError
from runbook_runner.sandbox.base import Chunk, EndedBy, Exit, Stream

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_BLOCK = 1 << 16
_LINGER_S = 1.0


@dataclass(frozen=True)
class Orders:
    """What the supervisor is to do."""

    environment: Mapping[str, str]
    """Of the command, which is looked for on its PATH. The supervisor itself has none."""
    cwd: str
    deadline_s: float
    memory_bytes: int | None
    """Of data that each process may have; `None`: a control group limits it."""
    open_files: int
    join: tuple[str, ...] = ()
    """`cgroup.procs` files the command is written into before it starts."""
    enclosed: bool = False
    """The command is a wrapper whose end ends everything in it, so it is killed last."""
    own_abstract_sockets: bool = False
    """It reaches no abstract unix sockets but those of what it starts itself."""
    grace_s: float = settings.GRACE_S


class HostProcess:
    """Implements `Process`."""

    def __init__(
        self,
        argv: Sequence[str],
        orders: Orders,
        *,
        stdin: IO[bytes] | None,
        inherited: Sequence[int] = (),
        streams: tuple[int, int, int] | None = None,
    ):
        """stdin: an open file, read from its position. inherited: descriptors the command gets. streams: its stdin,
        stdout and stderr, when this process does not read them. Raises OSError; ValueError for an invalid variable."""
        check_variables(orders.environment)
        self._choice = threading.RLock()  # a signal handler may kill while this thread holds it
        self._ending: EndedBy | None = None
        self._exit: Exit | None = None
        self._late = time.monotonic() + orders.deadline_s + 2 * orders.grace_s
        status, status_end = os.pipe()
        lifeline_end, lifeline = os.pipe()
        self._status = os.fdopen(status, "rb")
        self._lifeline = os.fdopen(lifeline, "wb", buffering=0)
        orders_end, orders_pipe = os.pipe()
        arguments = [str(status_end), str(lifeline_end), str(orders_end)]
        try:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-I", "-S", _SUPERVISOR, *arguments, *argv],
                env={},
                stdin=streams[0] if streams else stdin or subprocess.DEVNULL,
                stdout=streams[1] if streams else subprocess.PIPE,
                stderr=streams[2] if streams else subprocess.PIPE,
                pass_fds=(status_end, lifeline_end, orders_end, *inherited),
                start_new_session=True,  # Ctrl-C at the terminal is the runner's to handle
            )
        except BaseException:
            self._lifeline.close()
            self._status.close()
            os.close(orders_pipe)
            raise
        finally:
            os.close(status_end)
            os.close(lifeline_end)
            os.close(orders_end)
        with suppress(BrokenPipeError), os.fdopen(orders_pipe, "wb") as pipe:
            pipe.write(json.dumps(asdict(orders)).encode())

    @property
    def pid(self) -> int | None:
        """The supervisor's: the command and all that came from it are below it. `None` once it has ended."""
        return self._supervisor.pid if self._supervisor.returncode is None else None

    def __iter__(self) -> Iterator[Chunk]:
        ended_at: float | None = None
        with selectors.DefaultSelector() as selector:
            for pipe, name in ((self._supervisor.stdout, "stdout"), (self._supervisor.stderr, "stderr")):
                if pipe and not pipe.closed:
                    selector.register(pipe, selectors.EVENT_READ, name)
            while selector.get_map():
                ready = selector.select(timeout=_LINGER_S)
                for key, _ in ready:
                    data = os.read(key.fd, _BLOCK)
                    if data:
                        yield Chunk(cast(Stream, key.data), data)
                    else:
                        selector.unregister(key.fileobj)
                if time.monotonic() >= self._late:  # the supervisor has not done it: it was stopped
                    self.kill("deadline")
                # Only a supervisor that was killed itself leaves something that still holds the output.
                if not ready and self._supervisor.poll() is not None:
                    ended_at = ended_at or time.monotonic()
                    if time.monotonic() - ended_at >= _LINGER_S:
                        break
        self._finish()

    def kill(self, reason: EndedBy = "killed") -> None:
        with self._choice:
            if self._ending is None and self._exit is None:
                self._ending = reason
                with suppress(OSError, ValueError):  # it has ended in this moment
                    self._lifeline.write(b"k")
                    self._supervisor.send_signal(signal.SIGCONT)

    def wait(self) -> Exit:
        for _ in self:
            pass
        if self._exit is None:
            code = self._supervisor.returncode
            how = f"exit code {code}" if code >= 0 else f"signal {-code}"
            message = f"The command's supervisor was killed ({how})."
            raise SandboxError(message, hint="Something outside of this run did that.")
        return self._exit

    def abandon(self, timeout_s: float) -> None:
        """Ends the command and waits for that without reading. Raises SandboxError when it can't be ended."""
        self.kill()
        try:
            self._supervisor.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise SandboxError(f"Process {self._supervisor.pid} and what it started can't be ended.") from error

    def _finish(self) -> None:
        """Reads the outcome once all output is read, and closes everything."""
        if self._status.closed:
            return
        line = self._status.readline()  # ends with the supervisor; Popen.wait() would keep `abandon` from waiting
        self._supervisor.wait()
        with self._choice:
            self._close()
            if not line:
                self._exit = Exit(None, self._ending) if self._ending else None
                return
            outcome = json.loads(line)
            code, ended_by = outcome["code"], cast(EndedBy, outcome["ended_by"])
            self._exit = Exit(code, (self._ending or "killed") if ended_by == "killed" else ended_by)

    def _close(self) -> None:
        self._lifeline.close()
        self._status.close()
        for pipe in (self._supervisor.stdout, self._supervisor.stderr):
            if pipe:
                pipe.close()


def check_variables(environment: Mapping[str, str]) -> None:
    """Raises ValueError. A NUL would end the value, and begin a new word, for a program that reads them as a list."""
    for name, value in environment.items():
        if not name or "=" in name or "\0" in name + value:
            raise ValueError(f"{name!r} and its value can't be a variable of a command.")
