"""Docker sandbox: one container per run, gone with it."""

import posixpath
import secrets
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from docker.errors import NotFound

from runbook_runner.core import settings
from runbook_runner.core.errors import SandboxError
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
from runbook_runner.sandbox.disk_use import DiskUse
from runbook_runner.sandbox.docker.archive import TornArchiveError, pack, unpack
from runbook_runner.sandbox.docker.container import first_files, put_files, remove_container, start_container
from runbook_runner.sandbox.docker.creation import ImageUser
from runbook_runner.sandbox.docker.engine import Engine, engine_errors
from runbook_runner.sandbox.docker.exec_socket import ContainerAttached, user_of
from runbook_runner.sandbox.docker.limits import counted
from runbook_runner.sandbox.docker.limits.container_disk import ContainerDisk
from runbook_runner.sandbox.docker.limits.standstill import freeze
from runbook_runner.sandbox.docker.network import ContainerSockets
from runbook_runner.sandbox.docker.process import DockerProcess, end_everything
from runbook_runner.sandbox.docker.scripts import wrapped
from runbook_runner.sandbox.extract import Extraction
from runbook_runner.sandbox.usage_watch import UsageWatch

NAME = r"runbook-(.+)-[0-9a-f]{6}"
"""A pattern: the name of a run's container."""

_WITH_COMMAND = 1 << 20
"""Fewer bytes than this go with the command that needs them: an archive of their own costs the engine 50 ms."""

_OVER_S = 20.0  # to end what runs in the sandbox in order
_KILL_S = 10.0
_LOST = "What ran in the container did not end otherwise than with it, so its results are lost."
_LINK = 1 << 27  # os.ModeSymlink of Go, as the engine describes a path


class DockerSandbox:
    """Implements `Sandbox` on a Docker engine. Use as a context manager."""

    backend = "docker"
    app = settings.APP

    def __init__(self, engine: Engine, spec: SandboxSpec, *, container: str = "", ready: str = ""):
        """container: of another process; the sandbox is not to be started. ready: a running container of a pool, with
        folders and first files; `start` takes it over."""
        self._engine = engine
        self._api = engine.api
        self._spec = spec
        # Known before the engine is asked, so that what a failed `start` has left can be found.
        self._name = f"runbook-{spec.run_id}-{secrets.token_hex(3)}"  # see NAME
        self._container = container
        self._ready = ready
        self._begun = bool(container or ready)
        self._stopped = threading.Event()
        self._state = threading.Lock()
        self._unmade = () if container else FOLDERS
        self._direct: dict[str, str] = {}
        """Variables that keep calls to the gateway from a proxy."""
        self._stdin_numbers = count(1)
        self._processes: list[DockerProcess] = []
        self._ended = 0
        self._endings = 0
        self._swept = False
        self._over = 0.0
        """When it was found to be over its limit, on the monotonic clock; 0: it was not."""
        self._sockets = ContainerSockets(engine, spec)
        self._awake = threading.Lock()
        """Held while something is started in the container or ended there, and while it is paused."""
        self._container_disk = disk = ContainerDisk(engine, spec, self._awake)
        self._disk = DiskUse(
            spec.disk_bytes,
            disk.taken,
            lambda: disk.standing_still(self._container),
            disk.measure,
            lambda: disk.least(self._container),
        )
        self._watch = UsageWatch(self._disk, end=self._end_processes)

    @property
    def sandbox_id(self) -> str:
        return self._container

    @cached_property
    def _user(self) -> ImageUser:
        return user_of(self._engine, self._container)

    def start(self) -> None:
        with self._state:
            if self._stopped.is_set():
                raise SandboxError("The sandbox was stopped before it had started.")
            self._begun = True
            self._sockets.open()
            if not self._take_over():
                self._container, self._user = start_container(self._engine, self._spec, self._name, self._sockets)
            self._disk.begin()
            self._watch.start()
            if self._sockets.forwards:
                self.put([])
                self._sockets.forward(self._container)

    def _take_over(self) -> bool:
        """Renames the ready container after this run. Returns false when there is no ready container any more."""
        if not self._ready:
            return False
        with engine_errors("take over a container"):
            try:
                self._api.rename(self._ready, self._name)
            except NotFound:
                self._ready = ""
                return False
        self._container, self._unmade = self._ready, ()
        return True

    def put(self, files: Iterable[PutFile]) -> None:
        put_files(self._engine, self._container, *self._with_folders(files))

    def exec(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = settings.WORK,
        stdin: bytes | None = None,
        files: Iterable[PutFile] = (),
        deadline_s: float,
    ) -> DockerProcess:
        stdin_path = f"{settings.PRIVATE}/stdin-{next(self._stdin_numbers)}" if stdin is not None else ""
        given = (*files, *([PutFile(stdin_path, stdin)] if stdin is not None else []))
        self._require_ended()
        archive = self._bring(given)
        self._reopen_sockets()
        with self._awake, engine_errors("start a command in the container"):
            process = DockerProcess(
                self._engine,
                self._container,
                wrapped(
                    argv,
                    cwd=cwd,
                    stdin_path=stdin_path,
                    deadline_s=deadline_s,
                    open_files=self._spec.open_files,
                    memory_each=counted.memory_each(self._engine, self._spec),
                    unpacks=bool(archive),
                ),
                user=self._user,
                env={**self._direct, **(env or {})},
                files=archive,
                deadline_s=deadline_s,
                stopped=self._stopped,
                awake=self._awake,
            )
        self._processes.append(process)
        return process

    def _require_ended(self) -> None:
        """Nothing starts beside what could not be ended. Raises SandboxError."""
        if error := self._left():
            raise error

    def _left(self) -> SandboxError | None:
        return next((process.left for process in self._processes if process.left), None)

    def _bring(self, files: Sequence[PutFile]) -> bytes:
        """Returns an archive for the command to unpack; empty when there is nothing to bring, or when the files were
        put."""
        if not files and not self._unmade:
            return b""
        size = sum(len(file.source) if isinstance(file.source, bytes) else _WITH_COMMAND for file in files)
        if not self._spec.unpacks or size >= _WITH_COMMAND:
            self.put(files)
            return b""
        return b"".join(pack(*self._with_folders(files)))

    def _with_folders(self, files: Iterable[PutFile]) -> tuple[tuple[PutFile, ...], Sequence[str]]:
        """Adds the folders, and what every container gets, to the first files."""
        folders, self._unmade = self._unmade, ()
        return (*(first_files(self._spec) if folders else ()), *files), folders

    def _reopen_sockets(self) -> None:
        """Ending a command ends the forwarder or the tunnel as well."""
        ended = self._endings + sum(process.was_ended for process in self._processes)
        if ended > self._ended:
            self._ended = ended
            with self._awake:
                self._sockets.reopen(self._container)

    def attach(self, argv: Sequence[str], *, env: Mapping[str, str], tty: bool) -> ContainerAttached:
        return ContainerAttached(self._engine, self._container, argv, user=self._user, env=env, tty=tty)

    def get(self, path: str, into: Path, wanted: Wanted) -> Received:
        def extraction() -> Extraction:
            return Extraction(into, path, wanted, streamed=True)

        try:
            return self._fetch(path, extraction())
        except TornArchiveError:  # the engine gives up on a file that becomes shorter while it is packed
            self.end_processes()
            self._endings += 1
            return self._fetch(path, extraction())

    def _fetch(self, path: str, extraction: Extraction) -> Received:
        with engine_errors(f"fetch {path} from the container"):
            try:
                chunks, about = self._api.get_archive(self._container, path)
            except NotFound as error:
                if "no such container" in str(error.explanation).lower():
                    for hit in self._watch.hits():
                        raise SandboxError(hit.message, hint=_LOST) from error
                    raise
                return extraction.received()
            with closing(chunks):
                if about and int(about["mode"]) & _LINK:  # Podman would give what it leads to
                    extraction.skip([posixpath.basename(path)], "a symbolic link")
                else:
                    unpack(chunks, extraction, path)
        return extraction.received()

    def localise(self, text: str) -> str:
        return text

    def gateway_host(self) -> GatewayAddress:
        if self._sockets.closed_in:
            self._direct = _direct_to(self._sockets.gateway.reach)
            return self._sockets.gateway
        with engine_errors("ask for the container's network"):
            about = self._api.inspect_container(self._container)
        bridge = next((network["Gateway"] for network in about["NetworkSettings"]["Networks"].values()), "")
        address = self._engine.gateway(bridge) or self._sockets.tunnelled(self._container)
        variables = dict(line.partition("=")[::2] for line in about["Config"]["Env"] or ())
        if any(value for name, value in variables.items() if name.lower().endswith("_proxy")):
            self._direct = _direct_to(address.reach, variables.get("no_proxy") or variables.get("NO_PROXY"))
        return address

    def holds(self) -> Mapping[Limit, Hold]:
        return counted.holds(self._engine)

    def counts_sockets(self) -> bool:
        return counted.counts_sockets(self._engine)

    def limits_hit(self, *, measured: bool = False) -> tuple[LimitHit, ...]:
        if measured or self._left():
            return self._watch.hits()
        with self._awake:
            return (*self._watch.hits(), *counted.limits_hit(self._engine, self._container, self._spec))

    def stop(self) -> None:
        self._stopped.set()
        self._watch.stop()
        for process in self._processes:
            process.abandon()
        try:
            with self._state:
                if self._begun:
                    self._container_disk.close()
                    remove_container(self._engine, self._container or self._ready or self._name)
                    self._begun = False
        finally:
            self._sockets.close()

    def end_processes(self) -> None:
        self._require_ended()
        with self._awake, engine_errors("end what runs in the container"):
            end_everything(self._engine, self._container)

    def _end_processes(self) -> None:
        """Of a sandbox that is over its limit: what does not end soon ends with the container."""
        self._over = self._over or time.monotonic()
        running = [process for process in self._processes if process.runs]
        for process in running:
            process.kill()
        if self._left() or time.monotonic() - self._over > _OVER_S:
            self._kill()
        elif not running:
            try:
                self._end_others()
            except SandboxError:
                self._kill()

    def _end_others(self) -> None:
        """Ends what commands have left behind, and those of attached terminals. The second time no program in the
        container is believed."""
        end = freeze if self._swept else end_everything
        self._swept = True
        with self._awake, engine_errors("end what runs in the container"):
            end(self._engine, self._container)

    def _kill(self) -> None:
        """Its files are gone with it."""
        with engine_errors("end the container"), self._engine.within(_KILL_S) as within:
            within.api.kill(self._container)

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


def _direct_to(host: str, others: str | None = None) -> dict[str, str]:
    """others: hosts that the Docker configuration or the image keeps from a proxy."""
    hosts = ",".join(filter(None, (others, host, "localhost", "127.0.0.1", "::1")))
    return {"no_proxy": hosts, "NO_PROXY": hosts}
