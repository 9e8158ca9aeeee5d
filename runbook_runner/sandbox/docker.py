"""Docker sandbox: one container per run, gone with it."""

import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from docker.errors import APIError, ImageNotFound, NotFound
from docker.types import LogConfig

from runbook_runner import settings
from runbook_runner.errors import InputError, NotReadyError, SandboxError
from runbook_runner.sandbox import FOLDERS, Filter, GatewayAddress, LimitHit, PutFile, Received, SandboxSpec
from runbook_runner.sandbox.archive import pack, unpack
from runbook_runner.sandbox.disk import DiskWatch
from runbook_runner.sandbox.docker_exec import DockerProcess, wrapped
from runbook_runner.sandbox.docker_limits import disk_used, limits_hit
from runbook_runner.sandbox.docker_network import ContainerDoors
from runbook_runner.sandbox.engine import Engine, engine_errors
from runbook_runner.sandbox.intake import Intake

RUN_LABEL = "runbook.trajectory"
HOST_LABEL = "runbook.host"

# What apt, pip, npm and our own kill need of root's powers; tests/sandbox/test_docker.py proves it.
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID")
_GONE_S = 10


@dataclass(frozen=True)
class OwnedContainer:
    """A container one of our runs made, alive or not."""

    container_id: str
    labels: Mapping[str, str]


def list_owned(engine: Engine, host: str) -> tuple[OwnedContainer, ...]:
    """All containers of runs of this host. Raises SandboxError."""
    with engine_errors("list containers"):
        found = engine.api.containers(all=True, filters={"label": [RUN_LABEL, f"{HOST_LABEL}={host}"]})
    return tuple(OwnedContainer(item["Id"], dict(item["Labels"])) for item in found)


def attach(engine: Engine, container_id: str) -> "DockerSandbox":
    """A leftover container, to get files from and to stop. Any state will do."""
    return DockerSandbox(engine, SandboxSpec(run_id="leftover"), container=container_id)


class DockerSandbox:
    """Implements `Sandbox` on a Docker engine. Use as a context manager."""

    backend = "docker"
    app = settings.APP

    def __init__(self, engine: Engine, spec: SandboxSpec, *, container: str = ""):
        """container: one that is there already; it is not to be started."""
        self._engine = engine
        self._api = engine.api
        self._spec = spec
        # Known before the engine is asked, so that a `start` that breaks off leaves nothing nameless.
        self._name = f"runbook-{spec.run_id}-{secrets.token_hex(3)}"
        self._container = container
        self._begun = bool(container)
        self._stopped = threading.Event()
        self._state = threading.Lock()
        self._unmade = () if container else FOLDERS
        self._stdin_numbers = count(1)
        self._processes: list[DockerProcess] = []
        self._doors = ContainerDoors(engine, spec)
        self._watch = DiskWatch(lambda: disk_used(engine, self._container), spec.disk_bytes, self._end_processes)

    @property
    def sandbox_id(self) -> str:
        return self._container

    def start(self) -> None:
        with self._state:
            if self._stopped.is_set():
                raise SandboxError("The sandbox was stopped before it had started.")
            self._begun = True
            self._doors.open()
            try:
                self._container = self._create()
                self._api.start(self._container)
            except ImageNotFound as error:
                raise NotReadyError(f"The Docker engine has no image {self._spec.image!r}.") from error
            except APIError as error:
                raise NotReadyError(
                    f"The container did not start: {(error.explanation or str(error)).strip()}",
                    hint="An image needs at least `sleep` and `sh` to be used as a sandbox.",
                ) from error
            self._watch.start()
            if self._doors.forwards:
                self.put([])
                self._doors.forward(self._container)

    def put(self, files: Iterable[PutFile]) -> None:
        # The folders travel with the first files: an archive of their own would cost every run another 50 ms.
        folders, self._unmade = self._unmade, ()
        bundle = (self._ca_bundle_file(),) if folders and self._spec.ca_bundle else ()
        self._send((*bundle, *files), folders)

    def _send(self, files: Iterable[PutFile], folders: Sequence[str] = ()) -> None:
        refused: list[InputError] = []

        def stream() -> Iterable[bytes]:
            try:
                yield from pack(files, folders)
            except InputError as error:  # the HTTP client would hide it behind an error of its own
                refused.append(error)
                raise

        try:
            with engine_errors("put files into the container"):
                self._api.put_archive(self._container, "/", stream())
        except (SandboxError, InputError):
            if refused:
                raise refused[0] from None
            raise

    def exec(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = settings.WORK,
        stdin: bytes | None = None,
        deadline_s: float,
    ) -> DockerProcess:
        stdin_path = f"{settings.PRIVATE}/stdin-{next(self._stdin_numbers)}" if stdin is not None else ""
        if stdin is not None:
            self.put([PutFile(stdin_path, stdin)])
        elif self._unmade:
            self.put([])
        with engine_errors("start a command in the container"):
            process = DockerProcess(
                self._api,
                self._container,
                wrapped(argv, cwd=cwd, stdin_path=stdin_path, deadline_s=deadline_s, open_files=self._spec.open_files),
                env=dict(env or {}),
                deadline_s=deadline_s,
                stopped=self._stopped,
            )
        self._processes.append(process)
        return process

    def get(self, path: str, into: Path, *, max_bytes: int, max_files: int, scrub: Filter | None = None) -> Received:
        intake = Intake(into, path, max_bytes=max_bytes, max_files=max_files, scrub=scrub)
        with engine_errors(f"fetch {path} from the container"):
            try:
                chunks, _ = self._api.get_archive(self._container, path)
            except NotFound as error:
                if "no such container" in str(error.explanation).lower():
                    raise
                return intake.received()
            try:
                unpack(chunks, intake, path)
            finally:
                chunks.close()
        return intake.received()

    def localise(self, text: str) -> str:
        return text

    def gateway_host(self) -> GatewayAddress:
        if self._doors.closed_in:
            return self._doors.gateway
        with engine_errors("ask for the container's network"):
            networks = self._api.inspect_container(self._container)["NetworkSettings"]["Networks"]
        return self._engine.gateway(next((network["Gateway"] for network in networks.values()), ""))

    def limits_hit(self) -> tuple[LimitHit, ...]:
        return (*self._watch.hits(), *limits_hit(self._engine, self._container, self._spec))

    def stop(self) -> None:
        self._stopped.set()
        self._watch.stop()
        for process in self._processes:
            process.abandon()
        try:
            with self._state, engine_errors("remove the container"):
                if self._begun:
                    self._remove(self._container or self._name)
                    self._begun = False
        finally:
            self._doors.close()

    def _end_processes(self) -> None:
        for process in self._processes:
            process.kill()

    def _remove(self, name: str) -> None:
        try:
            self._api.remove_container(name, force=True, v=True)
        except NotFound:
            return
        except APIError as error:
            if error.status_code != 409:  # 409: its own auto-remove is at work
                raise
            with suppress(NotFound):
                self._api.wait(name, timeout=_GONE_S, condition="removed")

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

    def _create(self) -> str:
        if self._spec.image is None:
            raise InputError("A docker sandbox needs an image.")
        made: dict[str, Any] = self._api.create_container(
            self._spec.image,
            entrypoint=["sleep"],
            command=[str(max(1, round(self._spec.lifetime_s)))],
            name=self._name,
            labels=dict(self._spec.labels),
            environment={**self._ca_variables(), **self._doors.environment},
            working_dir="/",
            host_config=self._host_config(),
        )
        return str(made["Id"])

    def _host_config(self) -> Any:
        memory = self._spec.memory_bytes
        return self._api.create_host_config(
            init=True,
            auto_remove=True,
            cap_drop=["ALL"],
            cap_add=list(CAPABILITIES),
            security_opt=["no-new-privileges"],
            pids_limit=self._spec.pids,
            nano_cpus=int(min(self._spec.cpus, self._engine.cpus) * 1e9),
            mem_limit=memory,
            memswap_limit=memory,
            log_config=LogConfig(type="none"),
            **self._doors.host_config,
        )

    def _ca_variables(self) -> dict[str, str]:
        if self._spec.ca_bundle is None:
            return {}
        return dict.fromkeys(settings.CA_VARIABLES, settings.SANDBOX_CA_BUNDLE)

    def _ca_bundle_file(self) -> PutFile:
        assert self._spec.ca_bundle is not None
        return PutFile(settings.SANDBOX_CA_BUNDLE, self._spec.ca_bundle, mode=0o644)
