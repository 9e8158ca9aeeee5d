"""Claims: a run's mark of life. A lock held as long as its process lives, so that a later start can tell the dead.

The lock goes with the process however it ends, `kill -9` included; no process id is trusted.
"""

import fcntl
import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from glob import escape
from pathlib import Path

from runbook_runner.errors import RecordingError
from runbook_runner.files import write_atomically

LABEL_RUN = "runbook.trajectory"
LABEL_FOLDER = "runbook.folder"
LABEL_LOCK = "runbook.lock"
LABEL_HOST = "runbook.host"
LABEL_TEMP = "runbook.temp"
LABEL_OWNER = "runbook.owner"
LABEL_KEEP = "runbook.keep"

Labels = Mapping[str, str]


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
    """Where a sandbox makes its folders on this machine."""


class Lock:
    """An advisory lock on a file (flock). The kernel drops it with its process, and only then."""

    def __init__(self, path: Path):
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @classmethod
    def hold(cls, path: Path) -> "Lock":
        """Ours when it returns: whoever looks whether we are dead lets go of it at once. Raises OSError."""
        while True:
            lock = cls(path)
            fcntl.flock(lock._descriptor, fcntl.LOCK_EX)
            if lock.is_in_place():
                return lock
            lock.release()

    def acquire(self) -> bool:
        """Without waiting; whether it is ours now."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            return False
        return True

    def is_in_place(self) -> bool:
        """Somebody took it for a dead run's and removed it otherwise."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        os.close(self._descriptor)

    def drop(self) -> None:
        """Releases it and removes its file."""
        self.path.unlink(missing_ok=True)
        self.release()


class Claim:
    """Context manager: the run is alive in it. Its entry goes with a run that was recorded to its end; after a death,
    or when the record could not be finished, it stays for the next start."""

    def __init__(self, home: Path, entry: Entry, *, keep: bool = False):
        """keep: the sandbox is meant to outlive the run."""
        self._keep = keep
        self._entry_file, self._lock_file = _paths(home, entry.trajectory_id)
        self._entry = entry
        self._lock: Lock | None = None

    def __enter__(self) -> "Claim":
        self._lock_file.parent.mkdir(parents=True, exist_ok=True)
        self._lock = Lock.hold(self._lock_file)
        write_atomically(self._entry_file, json.dumps(asdict(self._entry)))
        return self

    def labels(self) -> dict[str, str]:
        """For containers: enough for any later start on this host, whichever its home, to know whose they are."""
        kept = {LABEL_KEEP: "1"} if self._keep else {}
        return kept | {
            LABEL_RUN: self._entry.trajectory_id,
            LABEL_FOLDER: self._entry.folder,
            LABEL_TEMP: self._entry.temp,
            LABEL_LOCK: str(self._lock_file),
            LABEL_HOST: this_host(),
            LABEL_OWNER: f"{this_host()}:{os.getpid()}",
        }

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._lock is not None
        if kind is not None and issubclass(kind, RecordingError):
            self._lock.release()
            return
        self._entry_file.unlink(missing_ok=True)
        self._lock.drop()


def claimed(home: Path) -> Iterator[tuple[Path, Entry | None]]:
    """The lock of every run of this home that has not come to its end, or not to its beginning (`None`: its owner never
    got to start anything)."""
    for lock_file in sorted((home / "active").glob("*.lock")):
        try:
            yield lock_file, Entry(**json.loads(lock_file.with_suffix(".json").read_text()))
        except (OSError, ValueError, TypeError):
            yield lock_file, None


@contextmanager
def if_dead(lock_file: Path, *, look_only: bool = False) -> Iterator[bool]:
    """Whether the owner of a lock is gone; if so the lock is ours in this block, so that nobody else cleans up the same
    run, and goes afterwards, with its entry. A lock whose folder was removed has no owner any more. look_only: the
    lock and the entry stay."""
    if not lock_file.parent.is_dir():
        yield True
        return
    was_there = lock_file.exists()
    lock = _take_over(lock_file)
    try:
        yield lock is not None
    finally:
        if lock and look_only and was_there:
            lock.release()
        elif lock:
            for part in (*lock_file.parent.glob(f".{escape(lock_file.stem)}.json.*"), lock_file.with_suffix(".json")):
                part.unlink(missing_ok=True)
            lock.drop()


def _take_over(lock_file: Path) -> Lock | None:
    """The lock, held, or `None` when its owner lives."""
    try:
        lock = Lock(lock_file)
    except OSError:
        return None
    if not lock.acquire():
        return None
    if not lock.is_in_place():
        lock.release()
        return None
    return lock


def _paths(home: Path, trajectory_id: str) -> tuple[Path, Path]:
    active = home / "active"
    return active / f"{trajectory_id}.json", active / f"{trajectory_id}.lock"
