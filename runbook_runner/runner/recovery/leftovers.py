"""Runner, recovery: what the runs of this user have left on this machine: claims, and the containers and folders that
follow from their names."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runbook_runner.core.errors import RunbookError
from runbook_runner.runner.recovery.claims import Claimed, Entry, claimed
from runbook_runner.sandbox.backends import BACKENDS, Backend, OpenBackend
from runbook_runner.sandbox.base import Sandbox, SandboxSpec
from runbook_runner.sandbox.temp_folders import own_folders

Engines = Mapping[str, OpenBackend]
"""The open backends that have an engine, by name."""


@dataclass
class Leftovers:
    """Of one run, dead or alive."""

    claim: Claimed
    containers: list[str]
    """Ids of its sandboxes at an engine."""
    folders: list[Path]
    """Its sandbox on this machine, or the folder with the sockets of its container; and copies of its files."""
    problem: RunbookError | None = None
    """Why not all of it could be removed."""

    @property
    def run_id(self) -> str:
        return self.claim.run_id

    @property
    def entry(self) -> Entry:
        """Of a process that died before it had started anything, one that says nothing."""
        return self.claim.entry or Entry(backend="")

    @property
    def claimed(self) -> bool:
        """The run has not come to its end, as far as its claim says."""
        return not self.entry.settled

    @property
    def backend(self) -> Backend | None:
        """`None` when it is unknown, or not known to this version."""
        return BACKENDS.get(self.entry.backend)

    def is_elsewhere(self, url: str) -> bool:
        """Whether it may have a container at another engine than the one at this URL."""
        asked = self.entry.engine in (None, url)
        has_engine = self.backend is not None and self.backend.has_engine
        return has_engine and not (asked or self.containers) and time.time() < self.entry.until

    def may_be_kept(self, engines: Engines) -> bool:
        """Whether its sandbox was to stay and, as far as can be seen, is still there."""
        there = bool(self.containers or self.folders)
        if self.backend and self.backend.has_engine and not there:
            opened = engines.get(self.backend.name)
            there = opened is None or opened.engine is None or self.is_elsewhere(opened.engine.url)
        return self.entry.kept and (there or self.claimed)

    def sandboxes(self, engines: Engines) -> list[Sandbox]:
        """Returns what can still be asked for its files and must be stopped, the run's own sandbox first."""
        if self.backend is None:
            return []
        spec = SandboxSpec(run_id=self.claim.name)
        if self.backend.has_engine:
            return [engines[self.backend.name].reopen(container, spec) for container in self.containers]
        whole = self.claim.work in self.folders
        return [self.backend.open(None).reopen(str(self.claim.work), spec)] if whole else []


def find_leftovers(data: Path, engines: Engines) -> tuple[Leftovers, ...]:
    """Returns the leftovers of the runs of this user that are not settled, or whose sandbox was kept. Raises
    NotReadyError for a data folder that can't be used, SandboxError when an engine fails."""
    found = {
        claim.name: Leftovers(claim, [], list(own_folders(claim.work)) if claim.entry else [])
        for claim in claimed(data)
    }
    for backend in engines.values() if found else ():
        for item in backend.leftovers():
            name = next((name for name in item.claims if name in found), None)
            if name:  # the others are strangers': a label proves nothing
                found[name].containers.append(item.sandbox_id)
    return tuple(found.values())
