"""Sandbox: the labels by which a container or a temporary folder says which run it belongs to, so that a later process
can clean up after that run."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

RUN_LABEL: Final = "runbook.trajectory"
"""The trajectory id."""
FOLDER_LABEL: Final = "runbook.folder"
"""The trajectory's folder."""
LOCK_LABEL: Final = "runbook.lock"
"""The file that the run's process holds a lock on."""
TEMP_LABEL: Final = "runbook.temp"
"""The folder in which the run makes its temporary folders."""
HOST_LABEL: Final = "runbook.host"
"""`this_host()` of the run's process: an engine may serve several machines."""
OWNER_LABEL: Final = "runbook.owner"
"""`HOST:PID` of that process, for people."""
KEEP_LABEL: Final = "runbook.keep"
"""Set when the sandbox is to stay after the run."""

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Leftover:
    """A sandbox at an engine, alive or not, that says which run it belongs to."""

    sandbox_id: str
    labels: Labels
    """Of the process that made it."""
    run_id: str
    """The run that has it, which may have got it ready-made; empty when its name does not tell."""


def this_host() -> str:
    return platform.node()
