"""Runner: which sandbox, and what it is made of: chooses the backend and gets its image ready."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from runbook_runner.agents.base import Agent
from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.events import Emit, Log
from runbook_runner.core.settings import DEFAULT_SNAPSHOT, Settings
from runbook_runner.core.spec import Network, RunSpec
from runbook_runner.runner.environment.layers import layers_of
from runbook_runner.runner.environment.programs import (
    Program,
    find_program,
    plan_program,
    provide_program,
    require_program,
)
from runbook_runner.sandbox.base import Sandbox, SandboxSpec
from runbook_runner.sandbox.images.snapshots import Snapshot, UnknownSnapshotError, find_snapshot

if TYPE_CHECKING:
    from runbook_runner.sandbox.docker.engine import Engine
    from runbook_runner.sandbox.images.provide import ImageRef
    from runbook_runner.sandbox.local.folder_sandbox import FolderSandbox


BACKENDS = ("auto", "docker", "bubblewrap", "host")
LIFETIME_MARGIN_S = 600.0  # for set-up and collection; then a container ends, whatever became of us
_IMAGE_S = 3600.0

Report = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """A sandbox ready to be started."""

    sandbox: Sandbox
    agent: Agent
    """As it is in there: a host's own program may be of another version than ours."""
    image: str | None = None
    image_digest: str | None = None
    image_pinned: str | None = None
    """The user's own image as its registry names it for ever: `NAME@sha256:…`."""


class Backend(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def engine_url(self) -> str | None:
        """Of the Docker engine it uses."""
        ...

    def prepare(
        self, spec: RunSpec, agent: Agent, run_id: str, labels: Mapping[str, str], report: Report, emit: Emit
    ) -> Prepared:
        """Gets the image ready, building or pulling it if need be. emit: hears what happens in the sandbox itself.
        Raises NotReadyError."""
        ...

    def plan(self, spec: RunSpec, agent: Agent) -> list[str]:
        """What `prepare` would do, for people. Starts and builds nothing."""
        ...


def choose_backend(name: str, spec: RunSpec, agent: Agent, settings: Settings, *, strict_snapshot: bool) -> Backend:
    """`auto`: docker when its engine answers, else bubblewrap where it works, else an error that offers the host.

    Raises InputError for an unknown backend, for a network policy it can't keep or that keeps the agent from its model,
    and for an unknown snapshot when strict; NotReadyError when the machine lacks what the backend needs.
    """
    if name not in BACKENDS:
        raise InputError(f"Unknown sandbox {name!r}.", hint=f"Known sandboxes: {', '.join(BACKENDS)}.")
    if strict_snapshot and spec.snapshot:
        find_snapshot(spec.snapshot, spec.near)
    if spec.apt_packages and name in ("bubblewrap", "host"):
        raise InputError(f"The {name} sandbox installs no packages.", hint="Use --sandbox docker, or install them.")
    _check_network(name, spec, agent)
    if name == "host":
        return _host(agent, settings)
    if name == "bubblewrap":
        return _bubblewrap(agent, settings)
    return _docker(settings) if name == "docker" else _auto(agent, settings)


def _check_network(name: str, spec: RunSpec, agent: Agent) -> None:
    policy = spec.network.policy
    if policy == "none" and agent.dialect:
        raise InputError(f"{agent.name} can't reach its model with --network none.", hint="Use --network model-only.")
    if policy != "full" and name == "host":
        raise InputError(
            f"The host sandbox can't keep the network policy {policy}.",
            hint="Use --sandbox docker or --sandbox bubblewrap, or --network full.",
        )


def _auto(agent: Agent, settings: Settings) -> "Backend":
    try:
        return _docker(settings)
    except NotReadyError as no_docker:
        try:
            return _bubblewrap(agent, settings)
        except NotReadyError as no_bubblewrap:
            raise NotReadyError(
                no_docker.message, hint=no_docker.hint, details=f"Nor can bubblewrap be used: {no_bubblewrap}"
            ) from no_docker


def _docker(settings: Settings) -> "DockerBackend":
    from runbook_runner.sandbox.docker.engine import connect

    engine = connect()
    engine.ask_ahead()
    return DockerBackend(engine, settings)


def _bubblewrap(agent: Agent, settings: Settings) -> "BubblewrapBackend":
    from runbook_runner.sandbox.local.bubblewrap import require_bubblewrap

    require_bubblewrap()
    require_program(agent, settings.data)
    return BubblewrapBackend(settings)


def _host(agent: Agent, settings: Settings) -> "HostBackend":
    require_program(agent, settings.data)
    return HostBackend(settings)


@dataclass(frozen=True)
class HostBackend:
    settings: Settings
    name: str = "host"
    engine_url: None = None

    def prepare(
        self, spec: RunSpec, agent: Agent, run_id: str, labels: Mapping[str, str], report: Report, emit: Emit
    ) -> Prepared:
        program = provide_program(agent, self.settings, report)
        sandbox = self._sandbox(sandbox_spec(spec, run_id, labels, emit), program)
        return Prepared(sandbox, agent=replace(agent, version=program.version))

    def there(self, spec: RunSpec, agent: Agent, run_id: str, folder: Path) -> "FolderSandbox":
        """Another process' sandbox of the spec, to be joined."""
        asked = sandbox_spec(spec, run_id, {}, lambda _: None)
        return self._sandbox(asked, find_program(agent, self.settings.data), folder)

    @staticmethod
    def _sandbox(asked: SandboxSpec, program: Program | None, folder: Path | None = None) -> "FolderSandbox":
        from runbook_runner.sandbox.local.host import HostSandbox

        tools = (str(program.path),) if program else ()
        return HostSandbox(replace(asked, host_tools=tools), folder=folder)

    def plan(self, spec: RunSpec, agent: Agent) -> list[str]:
        return [
            f"run {plan_program(agent, self.settings.data)} in a temporary folder of this machine, without isolation"
        ]


@dataclass(frozen=True)
class BubblewrapBackend:
    settings: Settings
    name: str = "bubblewrap"
    engine_url: None = None

    def prepare(
        self, spec: RunSpec, agent: Agent, run_id: str, labels: Mapping[str, str], report: Report, emit: Emit
    ) -> Prepared:
        program = provide_program(agent, self.settings, report)
        sandbox = self._sandbox(sandbox_spec(spec, run_id, labels, emit, settings=self.settings), program)
        return Prepared(sandbox, agent=replace(agent, version=program.version))

    def there(self, spec: RunSpec, agent: Agent, run_id: str, folder: Path) -> "FolderSandbox":
        """Another process' sandbox of the spec, to be joined."""
        asked = sandbox_spec(spec, run_id, {}, lambda _: None, settings=self.settings)
        return self._sandbox(asked, find_program(agent, self.settings.data), folder)

    @staticmethod
    def _sandbox(asked: SandboxSpec, program: Program | None, folder: Path | None = None) -> "FolderSandbox":
        from runbook_runner.sandbox.local.bubblewrap import BubblewrapSandbox

        # Most agents' programs are scripts for Node, which need not be in /usr either.
        tools = (str(program.path), "node") if program else ("node",)
        return BubblewrapSandbox(replace(asked, host_tools=tools), folder=folder)

    def plan(self, spec: RunSpec, agent: Agent) -> list[str]:
        return [f"run {plan_program(agent, self.settings.data)} of this machine in namespaces of its own"]


@dataclass(frozen=True)
class DockerBackend:
    engine: "Engine"
    settings: Settings
    name: str = "docker"

    @property
    def engine_url(self) -> str:
        return self.engine.url

    def prepare(
        self, spec: RunSpec, agent: Agent, run_id: str, labels: Mapping[str, str], report: Report, emit: Emit
    ) -> Prepared:
        from runbook_runner.sandbox.docker.sandbox import DockerSandbox

        snapshot = None if spec.image else self._snapshot(spec, emit)
        image = self._image(spec, agent, snapshot, report)
        asked = sandbox_spec(spec, run_id, labels, emit, image=image.tag, settings=self.settings)
        asked = replace(asked, unpacks=snapshot is not None and snapshot.origin == "built-in")
        return Prepared(DockerSandbox(self.engine, asked), agent, image.tag, image.digest, image.pinned)

    def _image(self, spec: RunSpec, agent: Agent, snapshot: Snapshot | None, report: Report) -> "ImageRef":
        from runbook_runner.sandbox.images import provide

        layers = layers_of(agent, spec.apt_packages)
        if snapshot:
            return provide.ensure(self.engine, snapshot, layers, self.settings, report, spec.near)
        from runbook_runner.sandbox.images.user_image import resolve_image

        base = resolve_image(self.engine, str(spec.image), report)
        return provide.add_layers(self.engine, base, layers, self.settings, report)

    @staticmethod
    def _snapshot(spec: RunSpec, emit: Emit) -> Snapshot:
        """Contract §5.5: an unknown snapshot in a runbook is a warning."""
        try:
            return find_snapshot(spec.snapshot or DEFAULT_SNAPSHOT, spec.near)
        except UnknownSnapshotError as error:
            message = f"{error.message} {DEFAULT_SNAPSHOT} is used instead."
            emit(Log(level="warning", message=message, source="image"))
            return find_snapshot(DEFAULT_SNAPSHOT)

    def plan(self, spec: RunSpec, agent: Agent) -> list[str]:
        what = f"image {spec.image}" if spec.image else f"snapshot {spec.snapshot}"
        layer = f" with {agent.name} {agent.version} on top" if agent.install else ""
        return [f"start one container from {what}{layer}, on the engine at {self.engine.url}"]


def longest_end(spec: RunSpec) -> float:
    """Unix time at which a container of this spec has ended by itself, if its image is there in time."""
    return time.time() + _IMAGE_S + spec.limits.timeout_s + LIFETIME_MARGIN_S


def sandbox_spec(
    spec: RunSpec,
    run_id: str,
    labels: Mapping[str, str],
    emit: Emit,
    *,
    image: str | None = None,
    settings: Settings | None = None,
) -> SandboxSpec:
    return SandboxSpec(
        run_id=run_id,
        image=image,
        cpus=spec.limits.cpus,
        memory_bytes=spec.limits.memory_bytes,
        pids=spec.limits.pids,
        open_files=spec.limits.open_files,
        disk_bytes=spec.limits.disk_bytes,
        network=spec.network,
        on_event=emit,
        lifetime_s=spec.limits.timeout_s + LIFETIME_MARGIN_S,
        labels=labels,
        ca_bundle=settings.ca_bundle if settings else None,
    )


def shortcomings(sandbox: Sandbox, network: Network) -> Iterator[str]:
    """One sentence each; none when all holds."""
    if sandbox.backend == "host":
        yield "The host sandbox isolates nothing: the agent can read and change whatever you can."
        return
    if sandbox.backend == "bubblewrap" and network.policy == "full":
        yield "With the network policy full, bubblewrap shares this machine's network and its local services."
    unlimited = [limit for limit, how in sandbox.holds().items() if how == "none"]
    if unlimited:
        yield f"Not limited here, for no control group can be made: {', '.join(unlimited)}."
