"""Runner, environment: the image a run starts from, and what goes on top: Debian packages, then the agent."""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from runbook_runner.agents.base import Agent
from runbook_runner.agents.registry import find_agent, known_agents
from runbook_runner.core.errors import InputError, NotReadyError, RunbookError
from runbook_runner.core.events import Report
from runbook_runner.core.settings import DEFAULT_SNAPSHOT, Settings
from runbook_runner.core.spec import RunSpec
from runbook_runner.sandbox.backends import BACKENDS
from runbook_runner.sandbox.image_names import is_image_name
from runbook_runner.sandbox.images.snapshots import Snapshot, UnknownSnapshotError, find_snapshot

if TYPE_CHECKING:
    from runbook_runner.sandbox.docker.engine import Engine
    from runbook_runner.sandbox.images.build_request import Bounds
    from runbook_runner.sandbox.images.provide import ImageRef, MayBuild
    from runbook_runner.sandbox.images.recipe import Layer

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9.+:~-]+)?")  # Debian Policy 5.6.1, and a version behind it


def check_packages(names: Iterable[str], where: str | None = None) -> tuple[str, ...]:
    """Returns each name once. Raises InputError for what is not the name of a package."""
    once = tuple(dict.fromkeys(names))
    for name in once:
        if not _PACKAGE.fullmatch(name):
            raise InputError(f"{name!r} is not a Debian package.", where=where, hint="Write apt_packages: [jq].")
    return once


def check_image(name: str, where: str | None = None) -> str:
    """Returns the name. Raises InputError for what no image can be called."""
    if not is_image_name(name):
        hint = "Write it as REPOSITORY[:TAG][@DIGEST], in small letters: debian:12, ghcr.io/acme/tools:1.4."
        raise InputError(f"{name!r} is not the name of an image.", where=where, hint=hint)
    return name


def layers_of(agent: Agent | None, packages: Sequence[str] = ()) -> "list[Layer]":
    """packages: checked ones."""
    from runbook_runner.sandbox.images.recipe import Layer, apt_layer, origin_of  # imports docker

    origin = origin_of(agent.declared.path) if agent and agent.declared else ""
    installed = [Layer(agent.name, agent.install.layer, origin)] if agent and agent.install.layer else []
    return [*([apt_layer(packages)] if packages else []), *installed]


def agent_layers(near: Sequence[Path | str] = ()) -> "tuple[Layer, ...]":
    """Returns the layer of every agent that has one. Raises InputError when an agent can't be read."""
    found = (layers_of(find_agent(name, near)) for name in known_agents(near))
    return tuple(layer for layers in found for layer in layers)


def provide_image(
    engine: "Engine",
    spec: RunSpec,
    agent: Agent,
    asked: Settings,
    report: Report,
    may_build: "MayBuild",
    *,
    image_trusted: bool,
) -> "tuple[ImageRef, Snapshot | None]":
    """Returns the image with its layers, built or pulled when the engine does not have it, and the snapshot it was made
    of; `None` for a user's own image. image_trusted: the user has named it. Raises InputError, NotReadyError,
    SandboxError."""
    from runbook_runner.sandbox.images import provide  # imports docker

    layers, bounds = layers_of(agent, spec.apt_packages), _bounds(spec)
    if spec.image:
        from runbook_runner.sandbox.images.user_image import resolve_image

        base = resolve_image(engine, spec.image, report, trusted=image_trusted, left_s=spec.limits.timeout_s)
        return provide.add_layers(engine, base, layers, asked, report, bounds, trusted=image_trusted), None
    snapshot = snapshot_for(spec)
    image = provide.ensure(engine, snapshot, layers, asked, report, spec.near, may_build=may_build, bounds=bounds)
    return image, snapshot


def _bounds(spec: RunSpec) -> "Bounds":
    from runbook_runner.sandbox.images.build_request import Bounds  # imports docker

    limits = spec.limits
    return Bounds(spec.network.policy == "full", limits.cpus, limits.memory_bytes, limits.timeout_s)


def plan_image(engine: "Engine", spec: RunSpec, agent: Agent, asked: Settings) -> str:
    """Returns what `provide_image` would provide, for people."""
    from runbook_runner.sandbox.images.provide import planned  # imports docker

    layers = layers_of(agent, spec.apt_packages)
    on_top = f" with {agent.name} {agent.version} on top" if agent.install.layer else ""
    if spec.image:
        with suppress(RunbookError):  # the run says what is wrong with it
            if engine.image_id(spec.image) is None:
                on_top += ", which is pulled first"
        return f"image {spec.image}{on_top}"
    snapshot = snapshot_for(spec)
    with suppress(RunbookError):
        if planned(engine, snapshot, layers, asked, spec.near) is None:
            on_top += ", which is built first"
    return f"snapshot {snapshot.name}{on_top}"


def require_image(engine: "Engine", spec: RunSpec, agent: Agent, asked: Settings, recorded: str) -> None:
    """recorded: the image that the run had, for people. Raises NotReadyError, which says how to get one, when
    `provide_image` would pull or build it."""
    from runbook_runner.sandbox.images import provide  # imports docker

    layers = layers_of(agent, spec.apt_packages)
    if spec.image:
        from runbook_runner.sandbox.images.user_image import how_to_get

        found, how = provide.planned_on(engine, spec.image, layers, asked), how_to_get(engine, spec.image)
    else:
        snapshot = snapshot_for(spec)
        found = provide.planned(engine, snapshot, layers, asked, spec.near)
        options = [f"--agent {quote(agent.name)}"] if agent.install.layer else []
        what = " ".join([quote(snapshot.name), *options, *(f"--apt {quote(name)}" for name in spec.apt_packages)])
        how = (
            f"`runbook snapshots build {what}` makes it where there is a network, and `runbook snapshots import FILE` "
        )
        how += f"takes it from a machine that has it, where `runbook snapshots export {what} -o FILE` writes it"
    if found is None:
        without = " or ".join(
            name for name, backend in BACKENDS.items() if backend.isolates and not backend.uses_images
        )
        hint = f"{how}. --sandbox {without} does without an image."
        raise NotReadyError(f"This machine does not have the image of this run: {recorded}.", hint=hint)


def snapshot_for(spec: RunSpec) -> Snapshot:
    """The spec's own, else the default one (contract §5.5)."""
    try:
        return find_snapshot(spec.snapshot or DEFAULT_SNAPSHOT, spec.near)
    except UnknownSnapshotError:
        return find_snapshot(DEFAULT_SNAPSHOT)
