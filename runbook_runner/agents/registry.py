"""Agents: finds an agent by its name, or by the model it is meant for: the built-in ones, those declared in
`.runbook/agents/NAME.toml` near the runbook, and those of packages.

A package offers an agent by an entry point of the group `runbook_runner.agents`, named as the agent is, that leads to
an `Agent`. Agents' modules import pydantic, so they are imported when one of them is found.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_runner.agents.built_in import BUILT_IN_AGENTS
from runbook_runner.core.errors import InputError
from runbook_runner.core.facts.agents import AgentFacts
from runbook_runner.core.files import offered_near
from runbook_runner.core.ids import is_name
from runbook_runner.core.settings import DEFAULT_AGENT
from runbook_runner.core.text import did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from runbook_runner.agents.base import Agent

FOLDER = Path(".runbook", "agents")
GROUP = "runbook_runner.agents"
Near = Sequence[Path | str]
"""Folders from which upwards `.runbook/agents` is looked for."""


def known_agents(near: Near = ()) -> tuple[str, ...]:
    """The names of all agents, sorted."""
    return tuple(sorted({*BUILT_IN_AGENTS, *declared_agents(near), *_packaged()}))


def find_agent(name: str, near: Near = ()) -> "Agent":
    """The agent of that name, in any case: the built-in one, else one declared in a file near, else one of a package.
    Raises InputError that lists the known ones, or says what is wrong with a file or a package."""
    name = name.strip().lower()
    if name in BUILT_IN_AGENTS:
        agent: Agent = import_module(f"runbook_runner.agents.built_in.{name.replace('-', '_')}").AGENT
        return agent
    if path := declared_agents(near).get(name):
        from runbook_runner.agents.declared.agent import load_agent

        return load_agent(path)
    if point := _packaged().get(name):
        return load_packaged(point)
    known = known_agents(near)
    hint = f"Known agents: {', '.join(known)}."
    raise InputError(f"Unknown agent {name!r}.", hint=" ".join(filter(None, (did_you_mean(name, known), hint))))


def find_facts(name: str, near: Near = ()) -> AgentFacts:
    """The facts of the agent of that name; quick for a built-in one. Raises as `find_agent`."""
    return BUILT_IN_AGENTS.get(name.strip().lower()) or find_agent(name, near).facts


def infer_agent(model: str | None, near: Near = ()) -> AgentFacts:
    """The facts of the agent for a model when the runbook names no agent: the first whose models it is among, built-in
    ones first; else the default agent's."""
    default = BUILT_IN_AGENTS[DEFAULT_AGENT]
    if not model:
        return default
    built_in = (facts for facts in BUILT_IN_AGENTS.values() if facts.means(model))
    others = (facts for facts in _other_facts(near) if facts.means(model))
    return next(built_in, None) or next(others, default)


def _other_facts(near: Near) -> Iterator[AgentFacts]:
    """Of the agents that are not built in. A broken file or package is skipped: a run that names its agent says so."""
    for name in known_agents(near):
        if name not in BUILT_IN_AGENTS:
            with suppress(InputError):
                yield find_agent(name, near).facts


def load_packaged(point: "EntryPoint") -> "Agent":
    """Raises InputError when the package is broken."""
    from runbook_runner.agents.base import Agent

    where = f"entry point {point.name} = {point.value}"
    try:
        agent = point.load()
    except Exception as error:  # importing another package's module may raise anything
        raise InputError(f"The agent can't be loaded: {error}.", where=where) from error
    if not isinstance(agent, Agent):
        raise InputError(f"The agent is a {type(agent).__name__}, not an Agent.", where=where)
    return agent


def declared_agents(near: Iterable[Path | str]) -> dict[str, Path]:
    """Name → file, looking upwards from each folder; of two files with one name the nearer."""
    found: dict[str, Path] = {}
    for path in offered_near(near, FOLDER):
        if path.suffix == ".toml" and is_name(path.stem):
            found.setdefault(path.stem.lower(), path)
    return found


def _packaged() -> "dict[str, EntryPoint]":
    from importlib.metadata import entry_points  # takes as long to import as the check of a file

    return {point.name.lower(): point for point in entry_points(group=GROUP)}
