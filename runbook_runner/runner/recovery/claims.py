"""Runner, recovery: the claim of a run: a lock held as long as its process lives, by which a later process knows
whether the run is dead.

The kernel drops the lock with the process however that ends, `kill -9` included; no process id is trusted.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from glob import escape
from pathlib import Path

from runbook_runner.core.errors import RecordingError
from runbook_runner.core.files import make_folder, write_atomically
from runbook_runner.core.formats.json_toml import read_json
from runbook_runner.sandbox.labels import (
    FOLDER_LABEL,
    HOST_LABEL,
    KEEP_LABEL,
    LOCK_LABEL,
    OWNER_LABEL,
    RUN_LABEL,
    TEMP_LABEL,
    Labels,
    this_host,
)


@dataclass(frozen=True)
class Entry:
    """What a later start must know to clean up after a run that died."""

    trajectory_id: str
    folder: str
    """The trajectory's folder."""
    backend: str
    temp: str
    """Where a sandbox makes its folders on this machine."""
    engine: str | None = None
    """The Docker engine that has the container, as its user named it."""
    until: float = 0
    """Unix time. A container of this run has ended by itself by then."""


class Lock:
    """An advisory lock on a file (flock). The kernel drops it with its process, and only then."""

    def __init__(self, path: Path):
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @classmethod
    def hold(cls, path: Path) -> "Lock":
        """Returns the lock, held. A process that looks whether the run is dead holds it for a moment only. Raises
        OSError."""
        while True:
            lock = cls(path)
            fcntl.flock(lock._descriptor, fcntl.LOCK_EX)
            if lock.is_in_place():
                return lock
            lock.release()

    def acquire(self) -> bool:
        """Returns whether this process holds it now. Does not wait."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            return False
        return True

    def is_in_place(self) -> bool:
        """Returns false when another process took it for a dead run's and removed it."""
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
    """Context manager: the run is alive in it. Its entry is removed when the run is settled: recorded to its end, and
    its sandbox removed. After a death, or when the run was left before that, it stays for the next start."""

    def __init__(self, home: Path, entry: Entry, *, keep: bool = False):
        """keep: the sandbox is meant to outlive the run."""
        self._keep = keep
        self._entry_file, self._lock_file = _paths(home, entry.trajectory_id)
        self._entry = entry
        self._lock: Lock | None = None
        self._settled = False

    def settle(self) -> None:
        """Says that nothing is left to do for a later start."""
        self._settled = True

    def __enter__(self) -> "Claim":
        """Raises RecordingError."""
        try:
            make_folder(self._lock_file.parent)
            self._lock = Lock.hold(self._lock_file)
            write_atomically(self._entry_file, json.dumps(asdict(self._entry)))
        except OSError as error:
            if self._lock:
                self._lock.drop()
            where = str(self._entry_file.parent)
            raise RecordingError(f"The run can't be claimed: {error.strerror}.", where=where) from error
        return self

    def labels(self) -> dict[str, str]:
        """Returns the labels of the run's containers and folders: enough for any later process of this host, whichever
        its home, to know which run they belong to. A path that is not text, which an engine would not return as it was,
        is left out."""
        kept = {KEEP_LABEL: "1"} if self._keep else {}
        values = kept | {
            RUN_LABEL: self._entry.trajectory_id,
            FOLDER_LABEL: self._entry.folder,
            TEMP_LABEL: self._entry.temp,
            LOCK_LABEL: str(self._lock_file),
            HOST_LABEL: this_host(),
            OWNER_LABEL: f"{this_host()}:{os.getpid()}",
        }
        return {name: value for name, value in values.items() if _is_text(value)}

    def __exit__(self, *_: object) -> None:
        assert self._lock is not None
        if not self._settled:
            self._lock.release()
            return
        self._entry_file.unlink(missing_ok=True)
        self._lock.drop()


def claimed(home: Path) -> Iterator[tuple[Path, Entry | None]]:
    """Yields the lock file and the entry of every run of this home that has not come to its end. The entry is `None`
    when its process died before it had started anything."""
    for lock_file in sorted((home / "active").glob("*.lock")):
        yield lock_file, _entry(lock_file)


def of_taker(labels: Labels, run_id: str) -> Labels:
    """Returns the labels of the run that has taken a ready-made container, when that run has a claim beside the one of
    the container's maker; otherwise the labels as they are. run_id: of the run that has it, empty when unknown."""
    if run_id in ("", labels.get(RUN_LABEL)) or not labels.get(LOCK_LABEL):
        return labels
    lock_file = Path(labels[LOCK_LABEL]).with_name(f"{run_id}.lock")
    if (entry := _entry(lock_file)) is None:
        return labels
    of_run = {RUN_LABEL: run_id, FOLDER_LABEL: entry.folder, TEMP_LABEL: entry.temp, LOCK_LABEL: str(lock_file)}
    return {**labels, **of_run}


def _entry(lock_file: Path) -> Entry | None:
    try:
        return Entry(**read_json(lock_file.with_suffix(".json").read_text(), str(lock_file)))
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def if_dead(lock_file: Path, *, look_only: bool = False) -> Iterator[bool]:
    """Yields whether the process that held the lock is gone. If so, this process holds it in the block, so that no
    other cleans up the same run; afterwards the lock and its entry are removed. They stay when the block fails, and
    with look_only. A lock whose folder was removed counts as dead; one that this user may not open as alive."""
    if _is_removed(lock_file.parent):
        yield True
        return
    was_there = os.path.lexists(lock_file)
    lock = _take_over(lock_file)
    stays = look_only
    try:
        yield lock is not None
    except BaseException:
        stays = True
        raise
    finally:
        if lock and stays and was_there:
            lock.release()
        elif lock:
            for part in (*lock_file.parent.glob(f".{escape(lock_file.stem)}.json.*"), lock_file.with_suffix(".json")):
                part.unlink(missing_ok=True)
            lock.drop()


def _is_removed(folder: Path) -> bool:
    try:
        folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _take_over(lock_file: Path) -> Lock | None:
    """Returns the lock, held, or `None` when its run is alive."""
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
