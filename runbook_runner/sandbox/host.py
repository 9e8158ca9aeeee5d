"""Host sandbox: a temporary folder and a scrubbed environment on this machine. No isolation: its user is to be told."""

import os
import secrets
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from glob import escape
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from runbook_runner import settings
from runbook_runner.errors import InputError, NotReadyError, SandboxError
from runbook_runner.sandbox import FOLDERS, Filter, GatewayAddress, PutFile, Received, SandboxSpec
from runbook_runner.sandbox.host_exec import HostProcess
from runbook_runner.sandbox.host_tree import fetch
from runbook_runner.sandbox.intake import Intake
from runbook_runner.sandbox.paths import CONFIG, app_rewriter, check_writable

_HOME = f"{settings.PRIVATE}/home"
_TMP = f"{_HOME}/.tmp"
_PREFIX = "runbook-"
_STOP_S = settings.GRACE_S + 5
# What a program needs to find its tools and its language; nothing else of the user's environment is passed on.
_KEPT = ("PATH", "LANG", "LANGUAGE", "TZ", *settings.CA_VARIABLES)


def find_leftover(temp: Path, run_id: str) -> "HostSandbox | None":
    """The work folder a dead run left below the temporary folder it used, to get files from and to stop. Its
    processes have ended with their run."""
    with suppress(OSError):
        for folder in sorted(temp.resolve().glob(f"{_PREFIX}{escape(run_id)}-*")):
            seen = folder.lstat()
            # Anybody may write there: a link or a folder of another user's is not ours to remove.
            if stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.getuid():
                return HostSandbox(SandboxSpec(run_id=run_id), folder=folder)
    return None


class HostSandbox:
    """Implements `Sandbox`. Use as a context manager."""

    backend = "host"

    def __init__(self, spec: SandboxSpec, *, folder: Path | None = None):
        """folder: one that is there already; it is not to be started."""
        self._spec = spec
        self._app = str(folder) if folder else ""
        self._stopped = False
        self._state = threading.Lock()
        self._processes: list[HostProcess] = []

    @property
    def sandbox_id(self) -> str:
        return self._app

    @property
    def app(self) -> str:
        return self._app

    def start(self) -> None:
        with self._state:
            if self._stopped:
                raise SandboxError("The sandbox was stopped before it had started.")
            try:
                self._app = os.path.realpath(tempfile.mkdtemp(prefix=f"{_PREFIX}{self._spec.run_id}-"))
                for folder in (*FOLDERS[1:], _HOME, _TMP):
                    _open_folder(self._path(folder))
            except OSError as error:
                raise NotReadyError(f"Can't make a work folder: {error}.") from error

    def put(self, files: Iterable[PutFile]) -> None:
        self._check()
        for file in files:
            target = self._path(check_writable(file.path))
            try:
                self._make_parents(target)
                _write(target, file)
            except OSError as error:
                raise SandboxError(f"Can't write {target}: {error.strerror}.") from error

    def exec(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = settings.WORK,
        stdin: bytes | None = None,
        deadline_s: float,
    ) -> HostProcess:
        with self._state:
            self._check()
            given = self._stdin(stdin) if stdin is not None else None
            try:
                process = HostProcess(
                    argv,
                    env={**self._environment(), **(env or {})},
                    cwd=str(self._path(cwd)),
                    stdin=given,
                    deadline_s=deadline_s,
                    memory_bytes=self._spec.memory_bytes,
                )
            except (OSError, ValueError) as error:
                raise SandboxError(f"Can't start a command: {error}") from error
            finally:
                if given:
                    given.close()
            self._processes.append(process)
            return process

    def get(self, path: str, into: Path, *, max_bytes: int, max_files: int, scrub: Filter | None = None) -> Received:
        self._check()
        intake = Intake(into, path, max_bytes=max_bytes, max_files=max_files, scrub=scrub)
        fetch(Path(self._app), self._path(path).relative_to(self._app), intake, path)
        return intake.received()

    def localise(self, text: str) -> str:
        return app_rewriter(self._app)(text)

    def gateway_host(self) -> GatewayAddress:
        return GatewayAddress(bind="127.0.0.1", reach="127.0.0.1")

    def stop(self) -> None:
        with self._state:
            self._stopped = True
            try:
                for process in self._processes:
                    process.kill()
                for process in self._processes:
                    process.abandon(_STOP_S)
            finally:
                if self._app:
                    remove_folder(Path(self._app))

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

    def _check(self) -> None:
        if not self._app or self._stopped:
            raise SandboxError("The sandbox is not running.")

    def _path(self, path: str) -> Path:
        """Where a sandbox path is on this machine. `/etc/runbook` is kept beside our other private files."""
        normal = os.path.normpath(path)
        for root, place in ((settings.APP, "."), (CONFIG, f"{settings.PRIVATE[len(settings.APP) + 1 :]}/etc")):
            if normal == root or normal.startswith(root + "/"):
                return Path(self._app, place, normal[len(root) + 1 :])
        if normal == self._app or normal.startswith(self._app + "/"):
            return Path(normal)
        raise InputError(f"{path!r} is not in the sandbox.", hint=f"Use a path below {settings.APP}.")

    def _make_parents(self, target: Path) -> None:
        missing = [folder for folder in target.parents if not folder.exists()]
        for folder in reversed(missing):
            _open_folder(folder)
        real = os.path.realpath(target.parent)
        if real != self._app and not real.startswith(self._app + "/"):
            raise InputError(f"{target.parent} is a link that leads out of the sandbox.")

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        kept |= {name: value for name, value in os.environ.items() if name.startswith("LC_")}
        if self._spec.ca_bundle:
            kept |= dict.fromkeys(settings.CA_VARIABLES, str(self._spec.ca_bundle))
        kept.setdefault("PATH", os.defpath)
        return kept | {"TERM": "dumb", "HOME": str(self._path(_HOME)), "TMPDIR": str(self._path(_TMP))}

    def _stdin(self, content: bytes) -> IO[bytes]:
        file = tempfile.TemporaryFile(dir=self._path(settings.PRIVATE))  # noqa: SIM115 - the caller closes it
        file.write(content)
        file.seek(0)
        return file


def remove_folder(folder: Path) -> None:
    """Removes a work folder, also when its owner took rights away inside. Follows no link; a missing one is fine.
    Raises SandboxError."""
    with suppress(OSError):
        shutil.rmtree(folder)
    if not os.path.lexists(folder):
        return
    for parent, folders, _ in os.walk(folder):
        for name in (".", *folders):
            path = Path(parent, name)
            if stat.S_ISDIR(path.lstat().st_mode):
                path.chmod(0o700)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise SandboxError(f"Can't remove the work folder {folder}: {error}.", hint="Remove it by hand.") from error


def _open_folder(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)


def _write(target: Path, file: PutFile) -> None:
    """Aside, then renamed: a link of that name is replaced, not followed."""
    aside = target.with_name(f".{secrets.token_hex(6)}.part")
    try:
        if isinstance(file.source, bytes):
            aside.write_bytes(file.source)
        else:
            _copy(file.source, aside)
        aside.chmod(file.mode)
        aside.replace(target)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _copy(source: Path, aside: Path) -> None:
    try:
        content = source.open("rb")
    except OSError as error:
        raise InputError(f"Can't read {source}: {error.strerror}.") from error
    with content, aside.open("xb") as out:
        shutil.copyfileobj(content, out, 1 << 20)
