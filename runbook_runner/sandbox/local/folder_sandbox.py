"""Sandboxes without an engine: what they share: `/app` is in a temporary folder of this machine."""

import os
import sys
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from runbook_runner.core import settings
from runbook_runner.core.errors import InputError, NotReadyError, SandboxError
from runbook_runner.sandbox.base import (
    FOLDERS,
    GatewayAddress,
    Hold,
    Limit,
    LimitHit,
    PutFile,
    Received,
    SandboxSpec,
    Wanted,
)
from runbook_runner.sandbox.disk_use import DiskUse, taken_on, tree_size
from runbook_runner.sandbox.extract import Extraction
from runbook_runner.sandbox.held_files import Held, descendants, held_by
from runbook_runner.sandbox.local.attach import LocalAttached, Streams
from runbook_runner.sandbox.local.process import HostProcess, Orders
from runbook_runner.sandbox.local.tree import fetch, store
from runbook_runner.sandbox.paths import CONFIG, app_rewriter, check_writable
from runbook_runner.sandbox.temp_folders import make_folder, open_folder, remove_folder
from runbook_runner.sandbox.usage_watch import UsageWatch

_STOP_S = settings.GRACE_S + 5


_LANGUAGE = ("LANG", "LANGUAGE", "TZ")


class FolderSandbox(ABC):
    """A `Sandbox` whose `/app` is below a folder of this machine. By itself that folder is `/app` and its processes see
    this machine as they are; a kind that shows them something else says so in the methods below."""

    backend: str

    def __init__(self, spec: SandboxSpec, *, folder: Path | None = None):
        """folder: the sandbox of another process, alive or dead: to attach to, to get files from, or to stop."""
        self._spec = spec
        self._root = str(folder) if folder else ""
        self._stopped = False
        self._state = threading.Lock()
        self._processes: list[HostProcess] = []
        used = self._disk_used
        self._disk = DiskUse(spec.disk_bytes, lambda: taken_on(self._root), self._still, used, used)
        self._watch = UsageWatch(self._disk, end=self._end_processes)

    @property
    def sandbox_id(self) -> str:
        return self._root

    # --- what a kind of sandbox adds ----------------------------------------------------------------------------------

    @abstractmethod
    def _command(
        self, argv: Sequence[str], environment: dict[str, str], cwd: str, deadline_s: float
    ) -> tuple[list[str], Orders, Sequence[int]]:
        """Returns what to start on this machine, how, and the descriptors it inherits, which are closed afterwards.
        environment: all of the command's variables. Raises ValueError for what can't be a variable."""

    @abstractmethod
    def _environment(self) -> dict[str, str]:
        """Returns the variables of every command."""

    def _make(self) -> None:  # noqa: B027 - most need nothing
        """Makes what is needed beside `FOLDERS`. Raises OSError and what `start` may."""

    def _release(self) -> None:  # noqa: B027
        """Called after the last process has ended, before the folder is removed."""

    @property
    def app(self) -> str:
        return self._root

    def localise(self, text: str) -> str:
        return app_rewriter(self._root)(text)

    def gateway_host(self) -> GatewayAddress:
        return GatewayAddress(bind="127.0.0.1", reach="127.0.0.1")

    @property
    def _app(self) -> str:
        """The folder of this machine that is `/app`."""
        return self._root

    @property
    def _config(self) -> str:
        """The folder of this machine that is `/etc/runbook`."""
        return f"{self._root}{settings.PRIVATE.removeprefix(settings.APP)}/etc"

    @property
    def _scratch(self) -> str:
        """The folder in which a given stdin is written before its name is removed."""
        return str(self._path(settings.PRIVATE))

    # --- Sandbox ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        with self._state:
            if self._stopped:
                raise SandboxError("The sandbox was stopped before it had started.")
            try:
                self._root = str(make_folder(self._spec.folder))
                Path(self._app).mkdir(exist_ok=True)
                for folder in FOLDERS[1:]:
                    open_folder(self._path(folder))
                self._make()
            except OSError as error:
                raise NotReadyError(f"Can't make a temporary folder: {error}.") from error
            self._disk.begin()
            self._watch.start()

    def put(self, files: Iterable[PutFile]) -> None:
        self._check()
        for file in files:
            root, parts = self._place(check_writable(file.path))
            try:
                store(Path(root), parts, file)
            except OSError as error:
                raise SandboxError(f"Can't write {file.path}: {error.strerror}.") from error

    def exec(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = settings.WORK,
        stdin: bytes | None = None,
        files: Iterable[PutFile] = (),
        deadline_s: float,
    ) -> HostProcess:
        self.put(files)
        return self._begin(argv, env or {}, cwd, deadline_s, stdin=stdin)

    def attach(self, argv: Sequence[str], *, env: Mapping[str, str], tty: bool) -> LocalAttached:
        def start(command: list[str], streams: Streams, deadline_s: float) -> HostProcess:
            return self._begin(command, env, settings.WORK, deadline_s, streams=streams)

        return LocalAttached(start, Path(self._root), self.app, argv, tty=tty)

    def _begin(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        deadline_s: float,
        *,
        stdin: bytes | None = None,
        streams: Streams | None = None,
    ) -> HostProcess:
        with self._state:
            self._check()
            given: IO[bytes] | None = None
            inherited: Sequence[int] = ()
            try:
                given = self._stdin(stdin) if stdin is not None else None
                command, orders, inherited = self._command(argv, {**self._environment(), **env}, cwd, deadline_s)
                process = HostProcess(command, orders, stdin=given, inherited=inherited, streams=streams)
            except (OSError, ValueError) as error:
                raise SandboxError(f"Can't start a command: {error}") from error
            finally:
                for descriptor in inherited:
                    os.close(descriptor)
                if given:
                    given.close()
            self._processes.append(process)
            return process

    def get(self, path: str, into: Path, wanted: Wanted) -> Received:
        self._check()
        extraction = Extraction(into, path, wanted)
        root, parts = self._place(path)
        fetch(Path(root), parts, extraction, path)
        return extraction.received()

    def holds(self) -> Mapping[Limit, Hold]:
        each: Hold = "each" if sys.platform == "linux" else "none"  # as `supervisor.py` has it
        return {"cpus": "none", "memory": each, "processes": "none", "open_files": each, "disk": "watched"}

    def counts_sockets(self) -> bool:
        return False

    def limits_hit(self, *, measured: bool = False) -> tuple[LimitHit, ...]:
        return self._watch.hits()

    def stop(self) -> None:
        with self._state:
            self._stopped = True
            self._watch.stop()
            try:
                self._end_processes()
                for process in self._processes:
                    process.abandon(_STOP_S)
            finally:
                self._release()
                if self._root:
                    remove_folder(Path(self._root))

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _disk_used(self) -> int:
        device = Path(self._root).stat().st_dev
        return tree_size(Path(self._root)) + sum(size for file, size in self._held().items() if file.device == device)

    def _still(self) -> AbstractContextManager[None]:
        """In it nothing in the sandbox runs, where a control group can do that: signals would not hold a process that
        has a timer, and confuse those that wait for it."""
        return nullcontext()

    def _held(self) -> Held:
        return held_by(self._running())

    def _running(self) -> Iterator[int]:
        """Yields all processes of this machine that belong to the sandbox. Linux only."""
        return descendants(pid for process in list(self._processes) if (pid := process.pid))

    def end_processes(self) -> None:
        self._end_processes()

    def _end_processes(self) -> None:
        for process in self._processes:
            process.kill()

    def _check(self) -> None:
        if not self._root or self._stopped:
            raise SandboxError("The sandbox is not running.")

    def _path(self, path: str) -> Path:
        """Returns the path of this machine for a sandbox path."""
        root, parts = self._place(path)
        return Path(root, *parts)

    def _place(self, path: str) -> tuple[str, tuple[str, ...]]:
        """Returns the folder of this machine that a sandbox path is below, and the names from there."""
        normal = os.path.normpath(path)
        for root, place in ((settings.APP, self._app), (CONFIG, self._config), (self._app, self._app)):
            if normal == root or normal.startswith(root + "/"):
                return place, Path(normal).relative_to(root).parts
        raise InputError(f"{path!r} is not in the sandbox.", hint=f"Use a path below {settings.APP}.")

    def _stdin(self, content: bytes) -> IO[bytes]:
        file = tempfile.TemporaryFile(dir=self._scratch)  # noqa: SIM115 - the caller closes it
        file.write(content)
        file.seek(0)
        return file


def language_variables() -> dict[str, str]:
    """Returns this process' variables that tell a program its language and its time zone."""
    return {name: value for name, value in os.environ.items() if name in _LANGUAGE or name.startswith("LC_")}


@dataclass(frozen=True)
class FolderBackend:
    """Implements `OpenBackend` for a kind of `FolderSandbox`."""

    kind: type[FolderSandbox]
    check: Callable[[], None] | None = None
    """Raises NotReadyError when this machine can't start such a sandbox; `None`: every machine can."""
    engine: None = field(default=None, init=False)

    def require(self) -> None:
        if self.check:
            self.check()

    def create(self, spec: SandboxSpec) -> FolderSandbox:
        return self.kind(spec)

    def warmed(self, labels: Mapping[str, str]) -> AbstractContextManager["FolderBackend"]:
        """A folder is made in a hundredth of a second."""
        return nullcontext(self)

    def reopen(self, sandbox_id: str, spec: SandboxSpec) -> FolderSandbox:
        return self.kind(spec, folder=Path(sandbox_id))

    def leftovers(self) -> tuple[()]:
        """The folders are named by the claims of their runs."""
        return ()
