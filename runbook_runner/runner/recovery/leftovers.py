"""Runner: what runs have left on this machine: claims, containers and folders, put together by run."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_runner.core.errors import RunbookError
from runbook_runner.runner.recovery import claims
from runbook_runner.sandbox.base import Sandbox, SandboxSpec
from runbook_runner.sandbox.temp_folders import find_folders, owned_folders, usual_folder

if TYPE_CHECKING:
    from runbook_runner.sandbox.docker.engine import Engine


@dataclass
class Remains:
    """Of one run, dead or alive; it grows while they are looked for."""

    run_id: str
    lock: Path
    """Tells whether its owner lives."""
    record: Path | None = None
    """The trajectory's folder."""
    claimed: bool = False
    """It has not come to its end, as far as it has said."""
    kept: bool = False
    """Somebody asked for its sandbox to stay."""
    backend: str | None = None
    engine: str | None = None
    """The Docker engine that was to have its container."""
    until: float = 0
    """Unix time, as `claims.Entry` has it."""
    containers: list[str] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    """Work folders, and those with the sockets of a container."""
    problem: RunbookError | None = None
    """Why not all of it could be removed."""

    def is_elsewhere(self, engine: "Engine") -> bool:
        """A container of it may be at another engine."""
        asked = self.engine in (None, engine.url)
        return self.backend == "docker" and not (asked or self.containers) and time.time() < self.until

    def sandbox(self, engine: "Engine | None") -> Sandbox | None:
        """What can still be asked for its files and must be stopped."""
        if self.containers and engine:
            from runbook_runner.sandbox.docker.sandbox import attach

            return attach(engine, self.containers[0])
        folder = next(iter(self.folders), None)
        if folder and self.backend == "bubblewrap":
            from runbook_runner.sandbox.local.bubblewrap import BubblewrapSandbox

            return BubblewrapSandbox(SandboxSpec(run_id=self.run_id), folder=folder)
        if folder and self.backend == "host":
            from runbook_runner.sandbox.local.host import HostSandbox

            return HostSandbox(SandboxSpec(run_id=self.run_id), folder=folder)
        return None


def find_remains(home: Path, engine: "Engine | None") -> tuple[Remains, ...]:
    """Of the runs of this home, and of those of any home of this host that have left a folder or, with an engine to
    ask, a container. Raises SandboxError when the engine fails."""
    found: dict[str, Remains] = {}
    for lock, entry in claims.claimed(home):
        run = found.setdefault(lock.stem, Remains(lock.stem, lock, claimed=True))
        if entry:
            run.record, run.backend = Path(entry.folder), entry.backend
            run.engine, run.until = entry.engine, entry.until
            run.folders += find_folders(Path(entry.temp), entry.trajectory_id)
    for backend, labels, container, folder in _labelled(engine):
        run_id, lock_file = labels.get(claims.LABEL_RUN, ""), labels.get(claims.LABEL_LOCK)
        if run_id and lock_file:
            found.setdefault(run_id, Remains(run_id, Path(lock_file)))
        if run_id not in found:  # made by something else than a run
            continue
        run = found[run_id]
        run.kept = run.kept or bool(labels.get(claims.LABEL_KEEP))
        run.backend = run.backend or backend
        run.record = run.record or Path(labels.get(claims.LABEL_FOLDER, ""))
        run.containers += [container] if container else []
        more = [folder] if folder else find_folders(Path(labels.get(claims.LABEL_TEMP, "")), run_id)
        run.folders += [path for path in more if path not in run.folders]
    return tuple(found.values())


def _labelled(engine: "Engine | None") -> Iterator[tuple[str, claims.Labels, str | None, Path | None]]:
    """Backend, labels, and the container or the folder that has them."""
    if engine:
        from runbook_runner.sandbox.docker.sandbox import list_owned

        for container in list_owned(engine, claims.this_host()):
            yield "docker", claims.of_taker(container.labels, container.run_id), container.container_id, None
    for owned in owned_folders(usual_folder()):
        yield owned.backend, owned.labels, None, owned.path
