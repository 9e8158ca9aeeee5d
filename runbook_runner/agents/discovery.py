"""Agents: those that are not ours: `.runbook/agents/NAME.toml` near the runbook, and entry points of packages.

An entry point of the group `runbook_runner.agents` is named as the agent is and leads to an `Agent`.
"""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from runbook_runner.agents import Agent
from runbook_runner.core.errors import InputError
from runbook_runner.core.files import upwards

FOLDER = Path(".runbook", "agents")
GROUP = "runbook_runner.agents"


def declared_files(near: Iterable[Path | str]) -> dict[str, Path]:
    """Agent's name → file, looking upwards from each folder; of two with one name the first found, which is nearer."""
    found: dict[str, Path] = {}
    for folder in upwards(near):
        for path in sorted((folder / FOLDER).glob("*.toml")):
            found.setdefault(path.stem.lower(), path)
    return found


def packaged() -> dict[str, EntryPoint]:
    return {point.name.lower(): point for point in entry_points(group=GROUP)}


def load_packaged(point: EntryPoint) -> Agent:
    """Raises InputError when the package is broken."""
    where = f"entry point {point.name} = {point.value}"
    try:
        agent = point.load()
    except Exception as problem:  # whatever somebody else's module does when it is imported
        raise InputError(f"The agent can't be loaded: {problem}.", where=where) from problem
    if not isinstance(agent, Agent):
        raise InputError(f"The agent is a {type(agent).__name__}, not an Agent.", where=where)
    return agent
