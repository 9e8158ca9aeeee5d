"""Room `runbook`, `check`: the agents, snapshots and providers of this machine beside those of the contract.

Asked only about a name that the contract does not know, because looking takes time. The caller says where to look.
"""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from runbook_runner.core.facts.agents import AgentFacts

Near = Path | None
"""The folder of a runbook, `None` for stdin."""


def _none(_near: Near) -> Collection[str]:
    return ()


def _unknown(_name: str | None, _near: Near) -> AgentFacts | None:
    return None


class Surroundings(NamedTuple):
    built_in_agents: Collection[str] = ()
    """Names of the agents that come with the program; empty: that is not known, so unknown agents are not reported."""
    agents: Callable[[Near], Collection[str]] = _none
    """Names of all agents, also those that are declared in files near, or by packages."""
    find_agent: Callable[[str, Near], AgentFacts | None] = _unknown
    """The agent of that name; `None` when there is none that can be loaded."""
    infer_agent: Callable[[str | None, Near], AgentFacts | None] = _unknown
    """The agent for a model, when the runbook names none."""
    snapshots: Callable[[Near], Collection[str]] | None = None
    """Names of all snapshots a run here would find; `None`: that is not known, so unknown ones are not reported."""
    providers: Callable[[Near], Collection[str]] = _none
    """Names of the model providers beyond the contract's."""


NOWHERE = Surroundings()
