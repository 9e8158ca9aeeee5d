"""Room `runbook`, `check`: what there is on this machine beside the contract's own: agents, snapshots, providers.

Asked only about a name that the contract does not know, because looking takes time; whoever checks says where to look.
"""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

Near = Path | None
"""The folder of a runbook, `None` for stdin."""


def _none(_near: Near) -> Collection[str]:
    return ()


class Surroundings(NamedTuple):
    agents: Callable[[Near], Collection[str]] = _none
    """Names of agents that are declared in files near, or by packages."""
    snapshots: Callable[[Near], Collection[str]] | None = None
    """Names of all snapshots a run here would find; `None`: that is not known, so nothing is said of them."""
    providers: Callable[[Near], Collection[str]] = _none
    """Names of the model providers beyond the contract's."""


NOWHERE = Surroundings()
