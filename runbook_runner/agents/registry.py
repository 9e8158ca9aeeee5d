"""Agents: the table of the built-in agents, and where others are found: `.runbook/agents/NAME.toml` near the runbook,
and entry points of packages.

To add a built-in agent, write a module with an `AGENT` and name it in `_MODULES`. An entry point of the group
`runbook_runner.agents` is named as the agent is and leads to an `Agent`.
"""

from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from runbook_runner.agents.base import Agent
from runbook_runner.core.errors import InputError
from runbook_runner.core.files import upwards
from runbook_runner.core.text import did_you_mean

FOLDER = Path(".runbook", "agents")
GROUP = "runbook_runner.agents"

_MODULES = {
    "claude-code": "runbook_runner.agents.claude_code",
    "codex": "runbook_runner.agents.codex",
    "gemini-cli": "runbook_runner.agents.gemini_cli",
    "hermes": "runbook_runner.agents.hermes",
    "opencode": "runbook_runner.agents.opencode",
    "shell": "runbook_runner.agents.shell",
}


def known_agents(near: Sequence[Path | str] = ()) -> tuple[str, ...]:
    """Names. near: folders from which upwards `.runbook/agents` is looked for."""
    return tuple(sorted({*_MODULES, *declared_files(near), *packaged()}))


def is_ours(name: str) -> bool:
    return name in _MODULES


def find_agent(name: str, near: Sequence[Path | str] = ()) -> Agent:
    """The agent of that name, in any case: ours, else one declared in a file near, else one of a package.
    Raises InputError that lists the known ones, or says what is wrong with a file."""
    name = name.strip().lower()
    if name in _MODULES:
        agent = import_module(_MODULES[name]).AGENT
        assert isinstance(agent, Agent)
        return agent
    if path := declared_files(near).get(name):
        from runbook_runner.agents.declared.agent import load_agent

        return load_agent(path)
    if point := packaged().get(name):
        return load_packaged(point)
    known = known_agents(near)
    nearest = did_you_mean(name, known)
    hint = f"Known agents: {', '.join(known)}."
    raise InputError(f"Unknown agent {name!r}.", hint=f"{nearest} {hint}" if nearest else hint)


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
