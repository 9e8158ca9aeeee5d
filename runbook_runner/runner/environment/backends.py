"""Runner, environment: which backend a run gets, and the sandbox it makes of the run's spec.

What a backend can do is in its row of the sandbox room's table. Here is what needs the agent: its image, or its program
on this machine.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runbook_runner.agents.base import Agent
from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.events import Emit, Report
from runbook_runner.core.settings import DEFAULT_SNAPSHOT, MAX_CHECK_TIMEOUT_S, Settings
from runbook_runner.core.spec import Network, RunSpec
from runbook_runner.runner.environment.images import plan_image, provide_image, require_image
from runbook_runner.runner.environment.programs import (
    Program,
    find_program,
    plan_program,
    provide_program,
    require_present,
    require_program,
)
from runbook_runner.runner.recovery.claims import Claim
from runbook_runner.sandbox.backends import AUTO, BACKENDS, Backend, OpenBackend, find_backend, usual_backends
from runbook_runner.sandbox.base import Sandbox, SandboxSpec
from runbook_runner.sandbox.images.snapshots import UnknownSnapshotError, find_snapshot

if TYPE_CHECKING:
    from runbook_runner.sandbox.images.provide import MayBuild

LIFETIME_MARGIN_S = 600.0  # for set-up and collection; then a container ends, even if its run has not
_IMAGE_S = 3600.0


@dataclass(frozen=True)
class Prepared:
    """A sandbox ready to be started."""

    sandbox: Sandbox
    agent: Agent
    """As it is in the sandbox: a program of this machine may have another version than the pinned one."""
    image: str | None = None
    image_digest: str | None = None
    image_pinned: str | None = None
    """`NAME@sha256:…`, by which the registry of the user's own image gives the very same image."""
    brings_files: bool = False
    """The image is not one of ours: it may have files where results are collected."""


@dataclass(frozen=True)
class ChosenBackend:
    """A backend that this machine is ready for."""

    backend: Backend
    opened: OpenBackend
    settings: Settings
    warnings: tuple[str, ...] = ()
    """Why it is not the usual one, for people."""
    doubts: tuple[str, ...] = ()
    """What the runbook names and the run does not use, for people."""
    image_trusted: bool = False
    """The user has named the image, and not only the runbook or a recording, or trusts the whole command."""

    @property
    def name(self) -> str:
        return self.backend.name

    @property
    def engine_url(self) -> str | None:
        """`None` for a backend without an engine."""
        return self.opened.engine.url if self.opened.engine else None

    def prepare(
        self, spec: RunSpec, agent: Agent, claim: Claim, report: Report, emit: Emit, may_build: "MayBuild"
    ) -> Prepared:
        """Provides the image or the agent's program, building, pulling or installing it if need be. report: gets lines
        of progress. emit: gets what happens in the sandbox itself. may_build: see `provide.ensure`. Raises InputError,
        NotReadyError, SandboxError."""
        asked = replace(self._sandbox_spec(spec, emit), run_id=claim.name, folder=claim.work, labels=claim.labels())
        if self.backend.uses_images:
            assert self.opened.engine
            image, snapshot = provide_image(
                self.opened.engine, spec, agent, self.settings, report, may_build, image_trusted=self.image_trusted
            )
            unpacks = snapshot is not None and snapshot.origin == "built-in"
            sandbox = self.opened.create(replace(asked, image=image.digest, unpacks=unpacks))
            return Prepared(sandbox, agent, image.tag, image.digest, image.pinned, brings_files=not unpacks)
        program = provide_program(agent, self.settings, report)
        sandbox = self.opened.create(replace(asked, host_tools=_tools(program)))
        return Prepared(sandbox, replace(agent, version=program.version))

    def require_image(self, spec: RunSpec, agent: Agent, recorded: str) -> None:
        """recorded: see `images.require_image`. Raises NotReadyError when `prepare` would pull or build an image."""
        if self.backend.uses_images:
            assert self.opened.engine
            require_image(self.opened.engine, spec, agent, self.settings, recorded)

    def require_program(self, agent: Agent, recorded: str | None) -> None:
        """recorded: see `programs.require_present`. Raises NotReadyError when `prepare` would install the program."""
        if not self.backend.uses_images:
            require_present(agent, self.settings.data, recorded)

    def reopen(self, spec: RunSpec, agent: Agent, sandbox_id: str) -> Sandbox:
        """Returns the sandbox that another process has started for the run."""
        asked = self._sandbox_spec(spec, lambda _: None)
        if not self.backend.uses_images:
            asked = replace(asked, host_tools=_tools(find_program(agent, self.settings.data)))
        return self.opened.reopen(sandbox_id, asked)

    def plan(self, spec: RunSpec, agent: Agent) -> list[str]:
        """Returns what `prepare` and the start would do, for people. Starts and builds nothing."""
        if self.backend.uses_images:
            assert self.opened.engine
            image = plan_image(self.opened.engine, spec, agent, self.settings)
            return [f"start one container on the engine at {self.engine_url} from {image}"]
        return [f"run {plan_program(agent, self.settings.data)} {self.backend.place}"]

    def _sandbox_spec(self, spec: RunSpec, emit: Emit) -> SandboxSpec:
        return SandboxSpec(
            run_id="",
            cpus=spec.limits.cpus,
            memory_bytes=spec.limits.memory_bytes,
            pids=spec.limits.pids,
            open_files=spec.limits.open_files,
            disk_bytes=spec.limits.disk_bytes,
            network=spec.network,
            on_event=emit,
            lifetime_s=_lifetime_s(spec),
            # Without isolation the programs trust what they trust on this machine anyway.
            ca_bundle=self.settings.ca_bundle if self.backend.isolates else None,
        )


def _tools(program: Program | None) -> tuple[str, ...]:
    """Most agents' programs are scripts for Node, which need not be in /usr either."""
    return (str(program.path), "node") if program else ("node",)


def choose_backend(
    name: str,
    spec: RunSpec,
    agent: Agent,
    settings: Settings,
    *,
    strict_snapshot: bool,
    needs_image: bool = False,
    image_trusted: bool = False,
) -> ChosenBackend:
    """`auto`: the first usual backend of the table that can do what the spec asks for and that works here. needs_image:
    one that uses no images is refused, also when it is named. image_trusted: as `ChosenBackend` says.

    Raises InputError for an unknown backend, for what it can't do, for a network policy that keeps the agent from its
    model, and for an unknown snapshot when strict; NotReadyError when the machine lacks what the backend needs.
    """
    asked = usual_backends() if name == AUTO else (find_backend(name),)
    if strict_snapshot and spec.snapshot:
        find_snapshot(spec.snapshot, spec.near)
    if spec.network.policy == "none" and agent.dialect:
        raise InputError(f"{agent.name} can't reach its model with --network none.", hint="Use --network model-only.")
    able = [backend for backend in asked if _unable(backend, spec, needs_image) is None]
    if not able and (unable := _unable(asked[0], spec, needs_image)):
        raise unable
    lacking: list[tuple[Backend, NotReadyError]] = []
    for backend in able:
        try:
            chosen, unused = _chosen(backend, agent, settings), tuple(_unused(backend, spec))
            instead = tuple(f"The run takes {chosen.name}, not {better.name}: {why.message}" for better, why in lacking)
            return replace(chosen, warnings=instead, doubts=unused, image_trusted=image_trusted)
        except NotReadyError as error:
            lacking.append((backend, error))
    (_, first), *others = lacking
    if not others:
        raise first
    details = "\n".join(f"Nor can {backend.name} be used: {error}" for backend, error in others)
    raise NotReadyError(first.message, hint=first.hint, details=details) from first


def _chosen(backend: Backend, agent: Agent, settings: Settings) -> ChosenBackend:
    opened = backend.open(None)
    opened.require()
    if not backend.uses_images:
        require_program(agent, settings.data)
    return ChosenBackend(backend, opened, settings)


def _unused(backend: Backend, spec: RunSpec) -> Iterator[str]:
    if backend.uses_images and spec.snapshot:
        try:
            find_snapshot(spec.snapshot, spec.near)
        except UnknownSnapshotError as error:
            yield f"{error.message} {DEFAULT_SNAPSHOT} is used instead."
    if not backend.uses_images and (unused := spec.image or (spec.snapshot != DEFAULT_SNAPSHOT and spec.snapshot)):
        yield f"{unused} is not used: {backend.name} runs with the programs of this machine."


def _unable(backend: Backend, spec: RunSpec, needs_image: bool) -> InputError | None:
    """What the backend can't do of what the spec asks for; `None` when it can do all of it."""
    policy = spec.network.policy
    if needs_image and not backend.uses_images:
        able = _named(other for other in BACKENDS.values() if other.uses_images)
        message = f"The {backend.name} sandbox runs with the programs of this machine, not with an image or a snapshot."
        return InputError(message, hint=f"Use {able}, or leave it out.")
    if spec.apt_packages and not backend.installs_packages:
        able = _named(other for other in BACKENDS.values() if other.installs_packages)
        return InputError(f"The {backend.name} sandbox installs no packages.", hint=f"Use {able}, or install them.")
    if policy not in backend.policies:
        able = _named(other for other in BACKENDS.values() if policy in other.policies)
        message = f"The {backend.name} sandbox can't keep the network policy {policy}."
        return InputError(message, hint=f"Use {able}, or --network full.")
    return None


def _named(backends: Iterable[Backend]) -> str:
    return " or ".join(f"--sandbox {backend.name}" for backend in backends)


def longest_end(spec: RunSpec) -> float:
    """Returns the Unix time at which a container of this spec has ended by itself, if its image is there in time."""
    return time.time() + _IMAGE_S + _lifetime_s(spec)


def _lifetime_s(spec: RunSpec) -> float:
    """Of the sandbox: the agent's time, that of the checks, and some more to collect what is in it."""
    checks = spec.criteria.code_checks or spec.criteria.verification
    return spec.limits.timeout_s + (MAX_CHECK_TIMEOUT_S if checks else 0) + LIFETIME_MARGIN_S


def shortcomings(sandbox: Sandbox, network: Network) -> Iterator[str]:
    """Yields one sentence for each protection and each limit that the started sandbox does not give."""
    backend = find_backend(sandbox.backend)
    if not backend.isolates:
        yield f"The {backend.name} sandbox isolates nothing: the agent can read and change whatever you can."
        return
    if backend.shares_network and network.policy == "full":
        yield (f"With the network policy full, {backend.name} shares this machine's network and its local services.")
    holds = sandbox.holds()
    unlimited = [limit for limit, how in holds.items() if how == "none"]
    if unlimited:
        yield f"Not limited here, for no control group can be made: {', '.join(unlimited)}."
    if holds["memory"] == "each":
        yield "The memory limit holds here for each process by itself, not for all of them together."
    elif not sandbox.counts_sockets():
        yield "The memory limit does not hold here for what is in sockets: the control groups have version 1."
