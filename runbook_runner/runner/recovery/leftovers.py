"""Runner, recovery: what runs have left on this machine: claims, containers and folders, put together by run."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runbook_runner.core.errors import RunbookError
from runbook_runner.runner.recovery import claims
from runbook_runner.sandbox.backends import BACKENDS, Backend, OpenBackend
from runbook_runner.sandbox.base import Sandbox, SandboxSpec
from runbook_runner.sandbox.labels import (
    FOLDER_LABEL,
    KEEP_LABEL,
    LOCK_LABEL,
    RUN_LABEL,
    TEMP_LABEL,
    Labels,
    this_host,
)
from runbook_runner.sandbox.temp_folders import find_folders, owned_folders, usual_folder

Engines = Mapping[str, OpenBackend]
"""The open backends that have an engine, by name."""


@dataclass
class Leftovers:
    """Of one run, dead or alive; filled in while they are looked for."""

    run_id: str
    lock: Path
    """The lock file that tells whether the run's process lives."""
    trajectory: Path | None = None
    """The trajectory's folder."""
    claimed: bool = False
    """The run has not come to its end, as far as its claim says."""
    kept: bool = False
    """Its user wants the sandbox to stay."""
    backend_name: str | None = None
    engine_url: str | None = None
    """The engine that was to have its container."""
    until: float = 0
    """Unix time, see `claims.Entry`."""
    containers: list[str] = field(default_factory=list)
    """Ids of its sandboxes at an engine."""
    folders: list[Path] = field(default_factory=list)
    """Its sandboxes on this machine, and folders with the sockets of a container."""
    problem: RunbookError | None = None
    """Why not all of it could be removed."""

    @property
    def backend(self) -> Backend | None:
        """`None` when it is unknown, or not known to this version."""
        return BACKENDS.get(self.backend_name or "")

    def is_elsewhere(self, url: str) -> bool:
        """Whether it may have a container at another engine than the one at this URL."""
        asked = self.engine_url in (None, url)
        has_engine = self.backend is not None and self.backend.has_engine
        return has_engine and not (asked or self.containers) and time.time() < self.until

    def sandboxes(self, engines: Engines) -> list[Sandbox]:
        """Returns what can still be asked for its files and must be stopped, the run's own sandbox first."""
        if self.backend is None:
            return []
        spec = SandboxSpec(run_id=self.run_id)
        if self.backend.has_engine:
            return [engines[self.backend.name].reopen(container, spec) for container in self.containers]
        return [self.backend.open(None).reopen(str(folder), spec) for folder in self.folders[:1]]


def find_leftovers(home: Path, engines: Engines) -> tuple[Leftovers, ...]:
    """Returns the leftovers of the runs of this home, and of those of any home of this host that have left a folder or,
    at one of the engines, a container. Raises SandboxError when an engine fails."""
    found: dict[str, Leftovers] = {}
    for lock, entry in claims.claimed(home):
        run = found.setdefault(lock.stem, Leftovers(lock.stem, lock, claimed=True))
        if entry:
            run.trajectory, run.backend_name = Path(entry.folder), entry.backend
            run.engine_url, run.until = entry.engine, entry.until
            run.folders += find_folders(Path(entry.temp), entry.trajectory_id)
    for backend_name, labels, container, folder in _labelled(engines):
        run_id, lock_file = labels.get(RUN_LABEL, ""), labels.get(LOCK_LABEL)
        if run_id and lock_file:
            found.setdefault(run_id, Leftovers(run_id, Path(lock_file)))
        if run_id not in found:  # it was not made by a run
            continue
        run = found[run_id]
        run.kept = run.kept or bool(labels.get(KEEP_LABEL))
        run.backend_name = run.backend_name or backend_name
        run.trajectory = run.trajectory or Path(labels.get(FOLDER_LABEL, ""))
        run.containers += [container] if container else []
        more = [folder] if folder else find_folders(Path(labels.get(TEMP_LABEL, "")), run_id)
        run.folders += [path for path in more if path not in run.folders]
    return tuple(found.values())


def _labelled(engines: Engines) -> Iterator[tuple[str, Labels, str | None, Path | None]]:
    """Yields a backend's name, labels, and the container or the folder that has them."""
    for name, backend in engines.items():
        for item in backend.leftovers(this_host()):
            yield name, claims.of_taker(item.labels, item.run_id), item.sandbox_id, None
    for owned in owned_folders(usual_folder()):
        yield owned.backend, owned.labels, None, owned.path
