"""Sandbox: the labels by which a container says which run it belongs to, so that a later process can clean up after
that run. They prove nothing by themselves (a container has those of its image, too): the claim decides."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

CLAIM_LABEL: Final = "runbook.claim"
"""The name of the claim of the process that made the container."""
RUN_LABEL: Final = "runbook.trajectory"
"""The trajectory id, for people."""
OWNER_LABEL: Final = "runbook.owner"
"""`HOST:PID` of that process, for people."""

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Leftover:
    """A container that says which run it belongs to."""

    sandbox_id: str
    claims: tuple[str, ...]
    """The names of claims that it may belong to, as its name and its labels have them: a run may have got it
    ready-made, and then its name tells."""
    running: bool


def this_host() -> str:
    return platform.node()
