"""Runner, doctor: what runs are made of: images, agents' programs, keys, certificates."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from runbook_runner.agents.base import Agent
from runbook_runner.agents.built_in import BUILT_IN_AGENTS
from runbook_runner.agents.registry import find_agent, known_agents
from runbook_runner.core.errors import RunbookError
from runbook_runner.core.facts.providers import PROVIDER_KEYS, PROVIDERS
from runbook_runner.core.programs import version_of
from runbook_runner.core.settings import DEFAULT_AGENT, DEFAULT_SNAPSHOT
from runbook_runner.core.text import counted
from runbook_runner.runner.doctor.machine import PATIENCE_S, Finding, Machine, error_finding
from runbook_runner.runner.environment.images import layers_of
from runbook_runner.runner.environment.programs import find_program
from runbook_runner.runner.request.project_bounds import bounds_near
from runbook_runner.runner.request.secrets import provider_keys

if TYPE_CHECKING:
    from runbook_runner.sandbox.docker.engine import Engine

BUILD: Final = f"runbook snapshots build {DEFAULT_SNAPSHOT} --agent {DEFAULT_AGENT}"


def images(machine: Machine) -> Iterator[Finding]:
    """Of each snapshot, and of the default one with each agent on top."""
    if machine.engine is None:
        return
    try:
        facts = built_images(machine, machine.engine)
    except RunbookError as error:
        yield error_finding("images", "warn", error)
        return
    there = [name for name, is_built in facts.items() if is_built]
    absent = [name for name, is_built in facts.items() if not is_built]
    if not there:
        yield Finding("images", "warn", "No image is built; the first run takes minutes.", f"`{BUILD}`", facts)
        return
    message = f"Built: {', '.join(there)}." + (f" Built on first use: {', '.join(absent)}." if absent else "")
    yield Finding("images", "ok", message, facts=facts)


def built_images(machine: Machine, engine: "Engine") -> dict[str, bool]:
    """`SNAPSHOT` or `SNAPSHOT+AGENT` → whether a run would find it. Raises RunbookError."""
    from runbook_runner.sandbox.images.inventory import snapshots
    from runbook_runner.sandbox.images.provide import planned

    found = list(snapshots(machine.near))
    default = next(item for item in found if item.name == DEFAULT_SNAPSHOT)
    wanted = {item.name: (item, layers_of(None)) for item in found}
    for agent in _agents(machine):
        if agent.install.layer:
            wanted[f"{DEFAULT_SNAPSHOT}+{agent.name}"] = (default, layers_of(agent))
    return {
        name: planned(engine, snapshot, layers, machine.settings, machine.near) is not None
        for name, (snapshot, layers) in wanted.items()
    }


def agents(machine: Machine) -> Iterator[Finding]:
    """Their programs on this machine; in images they are at the pinned versions."""
    try:
        known = [agent for agent in _agents(machine) if agent.install.layer]
    except RunbookError as error:
        yield error_finding("agents", "warn", error)
        return
    with ThreadPoolExecutor(4, "doctor-version") as pool:
        versions = list(pool.map(lambda agent: _version(agent, machine), known))
    facts: dict[str, Any] = {
        agent.name: {"on_this_machine": version, "in_images": agent.version}
        for agent, version in zip(known, versions, strict=True)
    }
    here = [f"{agent.name} {version}" for agent, version in zip(known, versions, strict=True) if version]
    there = ", ".join(f"{agent.name} {agent.version}" for agent in known)
    message = f"On this machine: {', '.join(here) or 'none'}. In images: {there}."
    if here or machine.engine:
        yield Finding("agents", "ok", message, facts=facts)
    else:
        fix = next(agent.install.hint for agent in known if agent.name == DEFAULT_AGENT)
        yield Finding("agents", "warn", message, f"`{fix}`", facts)


def _agents(machine: Machine) -> list[Agent]:
    """Raises InputError when one can't be read."""
    return [find_agent(name, machine.near) for name in known_agents(machine.near)]


def _version(agent: Agent, machine: Machine) -> str | None:
    """`None`: it is not there. A program that does not tell is there all the same."""
    program = find_program(agent, machine.settings.data)
    if program is None:
        return None
    # What a project declares is not started by looking.
    said = None if agent.declared else version_of(program.path, timeout_s=PATIENCE_S)
    return said or "of unknown version"


def keys(machine: Machine) -> Iterator[Finding]:
    """Names, never values."""
    found = sorted(provider_keys(machine.environ))
    if found:
        yield Finding("keys", "ok", f"Set: {', '.join(found)}.", facts={"set": found})
        return
    (usual, _), *_ = PROVIDERS[BUILT_IN_AGENTS[DEFAULT_AGENT].providers[0]].keys
    yield Finding(
        "keys",
        "ok" if machine.offline else "warn",
        "No provider's key is set: agents can be run from model scripts and recordings, and with models of your own.",
        f"`export {usual}=…`, or another of {', '.join(sorted(PROVIDER_KEYS))}",
        {"set": []},
    )


def certificates(machine: Machine) -> Iterator[Finding]:
    from runbook_runner.sandbox.images.recipe import read_bundle

    bundle = machine.settings.ca_bundle
    if bundle is None:
        yield Finding("certificates", "ok", "No CA bundle of one's own: sandboxes trust the public roots.")
        return
    try:
        content = b"".join(read_bundle(bundle).values())
    except RunbookError as error:
        yield error_finding("certificates", "fail", error)
        return
    count = content.count(b"-----BEGIN CERTIFICATE-----")
    facts = {"path": str(bundle), "certificates": count}
    yield Finding(
        "certificates", "ok", f"Sandboxes trust the {counted(count, 'certificate')} of {bundle}.", facts=facts
    )


def project(machine: Machine) -> Iterator[Finding]:
    """Its settings, with which no run starts when they can't be read."""
    try:
        found = bounds_near(machine.near)
    except RunbookError as error:
        yield error_finding("project", "fail", error)
        return
    if found:
        yield Finding("project", "ok", "The settings of the project here narrow its runs.")
