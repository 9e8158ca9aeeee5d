"""Runner, doctor: whether a run works without any network: what it would fetch must be on this machine."""

from collections.abc import Iterator
from importlib.util import find_spec

from runbook_runner.agents.registry import find_agent
from runbook_runner.core.errors import RunbookError
from runbook_runner.core.settings import DEFAULT_AGENT, DEFAULT_SNAPSHOT
from runbook_runner.core.text import counted
from runbook_runner.runner.doctor.machine import Finding, Machine, error_finding
from runbook_runner.runner.doctor.tools import BUILD, built_images
from runbook_runner.runner.environment.programs import find_program

_ELSEWHERE = "or, from a machine that has them, `runbook snapshots export` there and `runbook snapshots import` here"


def readiness(machine: Machine) -> Iterator[Finding]:
    yield from _sandbox(machine)
    yield _prices()
    yield _models()


def _sandbox(machine: Machine) -> Iterator[Finding]:
    if machine.engine is None:
        yield _without_engine(machine)
        return
    try:
        built = built_images(machine, machine.engine)
    except RunbookError as error:
        yield error_finding("offline.images", "fail", error)
        return
    needed = [DEFAULT_SNAPSHOT, f"{DEFAULT_SNAPSHOT}+{DEFAULT_AGENT}"]
    absent = [name for name in needed if not built[name]]
    if absent:
        message = f"Not built: {', '.join(absent)}. Building needs a network."
        yield Finding("offline.images", "fail", message, f"`{BUILD}`, {_ELSEWHERE}", built)
    else:
        message = f"{DEFAULT_AGENT} on {DEFAULT_SNAPSHOT} is built; its version is baked in and it updates nothing."
        yield Finding("offline.images", "ok", message, facts=built)


def _without_engine(machine: Machine) -> Finding:
    agent = find_agent(DEFAULT_AGENT)
    if find_program(agent, machine.settings.data):
        return Finding("offline.agent", "ok", f"{agent.binary} is on this machine.")
    return Finding(
        "offline.agent",
        "fail",
        f"Without an engine {DEFAULT_AGENT} must be on this machine, and it is not.",
        f"`{agent.install.hint}`",
    )


def _prices() -> Finding:
    from runbook_runner.gateway.providers.prices import listed_providers

    providers = counted(len(listed_providers()), "provider")
    return Finding("offline.prices", "ok", f"The price table of {providers} is part of this.")


def _models() -> Finding:
    message = "Model scripts, recordings and models of your own (ollama and the like) need no network"
    if find_spec("litellm") is None:
        return Finding(
            "offline.models",
            "ok",
            f"{message}; for any model with any agent, install the extra.",
            "`pip install '.[litellm]'`, in the clone of Runbook Runner",
            {"litellm": False},
        )
    return Finding("offline.models", "ok", f"{message}; litellm uses the table it came with.", facts={"litellm": True})
