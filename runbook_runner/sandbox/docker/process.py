"""Docker sandbox: one command in a container, its output, its deadline, its end.

Killing the client of `docker exec` leaves the process alive (field notes §7.3). So a shell script that runs in the
container as root ends everything in it, except the processes that keep the container alive.
"""

import queue
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress

from docker.errors import APIError, NotFound

from runbook_runner.core import settings
from runbook_runner.core.errors import SandboxError
from runbook_runner.sandbox.base import Chunk, EndedBy, Exit
from runbook_runner.sandbox.docker.creation import ImageUser
from runbook_runner.sandbox.docker.engine import BROKEN, Engine
from runbook_runner.sandbox.docker.exec_socket import STREAMS, ExecRefusedError, Frames, first_output, start_exec
from runbook_runner.sandbox.docker.limits.standstill import freeze
from runbook_runner.sandbox.docker.scripts import ASK, END, SCAN

_END_TRIES = 50
_END_S = 20.0  # for all tries: the programs that a script uses may be the agent's, and take any time
_SIGKILLED = 128 + 9
_POLL_S = 1.0
_LINGER_S = 1.0  # output may still come so long after the command has ended
_LINGERS = 10  # times that the reader waits so long for output that comes in drops
_LATE = 16 << 20  # bytes of output that may still come from a command that has ended
_QUEUE = 256


class DockerProcess:
    """Implements `Process`. One thread reads the output, another watches for the end; neither outlives the exec."""

    def __init__(
        self,
        engine: Engine,
        container: str,
        command: list[str],
        *,
        user: ImageUser,
        env: Mapping[str, str],
        files: bytes,
        deadline_s: float,
        stopped: threading.Event,
        awake: threading.Lock,
    ):
        """files: an archive that the command unpacks, or nothing. stopped: set when the sandbox itself was stopped.
        awake: held while the container is paused, and by who starts this. Raises SandboxError, one of `BROKEN`."""
        self._engine = engine
        self._container = container
        self._stopped = stopped
        self._awake = awake
        self._deadline = time.monotonic() + deadline_s
        self._chunks: queue.Queue[Chunk | None] = queue.Queue(_QUEUE)
        self._choice = threading.Lock()
        self._ending: EndedBy | None = None
        self._wake = threading.Event()
        self._drained = threading.Event()
        self._received = 0
        self._passing = False
        self._abandoned = threading.Event()
        self._exit: Exit | None = None
        self._error: SandboxError | None = None
        self.left: SandboxError | None = None
        """Why it, or what it has started, may still run although it was ended."""
        self._files = files
        environment = {**user.variables, **env}
        made = engine.api.exec_create(container, command, user=user.ids, environment=environment, stdin=bool(files))
        self._exec = str(made["Id"])
        self._connection = start_exec(engine, self._exec)
        for job in (self._read, self._watch):
            threading.Thread(target=job, name=f"{job.__name__}-{self._exec[:8]}", daemon=True).start()

    def __iter__(self) -> Iterator[Chunk]:
        while (chunk := self._chunks.get()) is not None:
            yield chunk
        self._chunks.put(None)
        if self._error:
            raise self._error

    @property
    def was_ended(self) -> bool:
        """The runner ended it, and everything else in the container with it."""
        return self._ending is not None

    @property
    def runs(self) -> bool:
        """Its end is not known yet."""
        return self._exit is None and self._error is None

    def kill(self, reason: EndedBy = "killed") -> None:
        with self._choice:
            self._ending = self._ending or reason
        self._wake.set()

    def wait(self) -> Exit:
        for _ in self:
            pass
        assert self._exit is not None
        return self._exit

    def abandon(self) -> None:
        """The container is about to be removed: neither readers nor the engine wait for output any more."""
        self._abandoned.set()
        self._wake.set()
        self._connection.close()

    def _read(self) -> None:
        # A broken connection counts as its end: the other thread asks the engine how the command ended.
        with suppress(Exception):
            if self._files:
                self._connection.sendall(self._files)
                self._connection.end_input()
            frames = Frames(self._connection)
            while (piece := frames.next())[0]:
                self._engine.starting.discard(self._exec)
                self._received += len(piece[1])
                self._passing = True
                self._pass_on(Chunk(STREAMS.get(piece[0], "stdout"), piece[1]))
                self._passing = False
        self._drained.set()
        self._wake.set()

    def _pass_on(self, chunk: Chunk) -> None:
        """Waits for a reader. Drops the chunk when the command is abandoned, or the engine would wait for us to
        read."""
        while not self._abandoned.is_set():
            with suppress(queue.Full):
                self._chunks.put(chunk, timeout=0.2)
                return

    def _watch(self) -> None:
        try:
            self._exit = self._end()
        except SandboxError as error:
            self._error = error
        except BROKEN as error:
            self._lost(error)
        finally:
            self._close()

    def _end(self) -> Exit:
        """Waits for the command's end and, at the deadline or after `kill`, ends it. The state is asked for every
        second even while the output is open: a background child may hold it long after the command has ended."""
        pause = _POLL_S
        while True:
            self._wake.wait(max(0.0, min(pause, self._deadline - time.monotonic())))
            self._wake.clear()
            if self._stopped.is_set():
                return Exit(None, self._ending or "killed")
            if time.monotonic() >= self._deadline:
                self.kill("deadline")
            if self._ending:
                self._end_everything()
                return Exit(None, self._ending)
            if code := self._code():
                self._linger()
                return code
            if self._drained.is_set():
                pause = 0.01 if pause == _POLL_S else min(pause * 2, _POLL_S / 2)

    def _end_everything(self) -> None:
        """Raises SandboxError, one of `BROKEN`."""
        try:
            with self._awake:
                end_everything(self._engine, self._container)
            if not self._linger():  # the command still has its output
                with self._awake:
                    freeze(self._engine, self._container)
        except NotFound:  # with the container all has ended
            return
        except SandboxError as error:  # what is in the container can still be fetched
            self.left = error

    def _linger(self) -> bool:
        """Waits for the output that the command wrote before it ended, however slow its reader is; not for what a
        background child goes on to write. Returns whether the output has ended."""
        before, waits = self._received, 0
        late = before + _LATE
        while not self._drained.wait(_LINGER_S):
            waits += not self._passing
            if self._received >= late or waits > _LINGERS or (self._received == before and not self._passing):
                return False
            before = self._received
        return True

    def _code(self) -> Exit | None:
        state = self._engine.api.exec_inspect(self._exec)
        if state["Running"]:
            return None
        code = state["ExitCode"]
        if code is None or (code == _SIGKILLED and not self._engine.outlived(self._container)):
            raise SandboxError(
                "The container ended while a command ran in it.",
                hint="Was it removed by hand, did it outlive its time, or did the engine stop?",
            )
        return Exit(int(code), "exit")

    def _lost(self, error: Exception) -> None:
        if self._stopped.is_set():
            self._exit = Exit(None, self._ending or "killed")
        elif isinstance(error, NotFound):
            self._error = SandboxError(
                "The container vanished while a command ran in it.",
                hint="Was it removed by hand, or did it outlive its time?",
            )
        else:
            self._error = SandboxError(f"The Docker engine was lost while a command ran: {error}")

    def _close(self) -> None:
        while True:
            with suppress(queue.Full):
                self._chunks.put(None, timeout=0.5)
                return
            if self._abandoned.is_set():
                with suppress(queue.Empty):
                    self._chunks.get_nowait()


def end_everything(engine: Engine, container: str) -> None:
    """Ends every process in the container. Processes that can't be ended, as when `sh` was removed, are frozen. Whether
    they have ended is what `sh` says, which may be the agent's. Raises SandboxError, also where that keeps a command
    from starting; one of `BROKEN`."""
    if not _ended(engine, container):
        freeze(engine, container)


def _ended(engine: Engine, container: str) -> bool:
    """Runs two scripts as root; the first may fail where no process can be added. Returns whether all have ended."""
    try:
        _inside(engine, container, SCAN + ASK, str(round(settings.GRACE_S * 10)))
        until = time.monotonic() + _END_S
        for _ in range(_END_TRIES):
            if _inside(engine, container, SCAN + END) == b"ended\n":
                return True
            if time.monotonic() >= until:
                break
            time.sleep(0.1)
    except TimeoutError:  # a script was not scheduled, or `sh` was replaced
        return False
    return False


def _inside(engine: Engine, container: str, script: str, *arguments: str) -> bytes:
    try:
        return first_output(engine, container, ["sh", "-c", script, "runbook", *arguments])
    except NotFound:
        raise
    except (APIError, ExecRefusedError):  # the engine could not add a process
        return b""
