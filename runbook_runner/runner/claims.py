"""Claims: a run's mark of life. A lock held as long as its process lives, so that a later start can tell the dead.

The lock goes with the process however it ends, `kill -9` included; no process id is trusted.
"""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from runbook_runner.files import write_atomically

LABEL_RUN = "runbook.trajectory"
LABEL_FOLDER = "runbook.folder"
LABEL_LOCK = "runbook.lock"
LABEL_HOST = "runbook.host"
LABEL_OWNER = "runbook.owner"
LABEL_KEEP = "runbook.keep"


def this_host() -> str:
    return platform.node()


@dataclass(frozen=True)
class Entry:
    """What a later start must know to clean up after a run that died."""

    trajectory_id: str
    folder: str
    """The trajectory's folder."""
    backend: str
    temp: str
    """Where the host sandbox makes its work folder."""


class Claim:
    """Context manager: the run is alive in it. On a clean exit its entry goes; after a death it stays."""

    def __init__(self, home: Path, entry: Entry, *, keep: bool = False):
        """keep: the sandbox is meant to outlive the run."""
        self._keep = keep
        self._entry_file, self._lock_file = _paths(home, entry.trajectory_id)
        self._entry = entry
        self._lock = FileLock(self._lock_file)

    def __enter__(self) -> "Claim":
        self._lock_file.parent.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        write_atomically(self._entry_file, json.dumps(asdict(self._entry)))
        return self

    def labels(self) -> dict[str, str]:
        """For containers: enough for any later start on this host, whichever its home, to know whose they are."""
        kept = {LABEL_KEEP: "1"} if self._keep else {}
        return kept | {
            LABEL_RUN: self._entry.trajectory_id,
            LABEL_FOLDER: self._entry.folder,
            LABEL_LOCK: str(self._lock_file),
            LABEL_HOST: this_host(),
            LABEL_OWNER: f"{this_host()}:{os.getpid()}",
        }

    def __exit__(self, *_: object) -> None:
        self._entry_file.unlink(missing_ok=True)
        self._lock_file.unlink(missing_ok=True)
        self._lock.release()


def dead_entries(home: Path) -> Iterator[tuple[Entry, FileLock]]:
    """Entries whose owner is gone, each with its lock held by us: nobody else cleans up the same run."""
    for entry_file in sorted((home / "active").glob("*.json")):
        lock = take_over(entry_file.with_suffix(".lock"))
        if lock is None:
            continue
        try:
            yield Entry(**json.loads(entry_file.read_text())), lock
        except (OSError, ValueError, TypeError):  # half an entry: its owner never got to start anything
            pass
        finally:
            entry_file.unlink(missing_ok=True)
            drop(lock)


def drop(lock: FileLock) -> None:
    """Releases a lock that was taken over, and removes its file."""
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


@contextmanager
def if_dead(lock_file: Path) -> Iterator[bool]:
    """Whether the owner of a lock is gone; if so the lock is ours in this block. A lock whose folder was removed has
    no owner any more."""
    if not lock_file.parent.is_dir():
        yield True
        return
    lock = take_over(lock_file)
    try:
        yield lock is not None
    finally:
        if lock:
            drop(lock)


def take_over(lock_file: Path) -> FileLock | None:
    """The lock, held, or `None` when its owner lives."""
    lock = FileLock(lock_file)
    try:
        lock.acquire(blocking=False)
    except (Timeout, OSError):
        return None
    return lock


def _paths(home: Path, trajectory_id: str) -> tuple[Path, Path]:
    active = home / "active"
    return active / f"{trajectory_id}.json", active / f"{trajectory_id}.lock"
