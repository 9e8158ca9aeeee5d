"""Runner, recovery: the claim of a run: a lock held as long as its process lives, by which a later process knows
whether the run is dead.

The kernel drops the lock with the process however that ends, `kill -9` included; no process id is trusted. Claims lie
in the user's data folder, for the runs of all homes: what a claim says is believed, and a container or a folder that no
claim knows is not touched. A claim's name has a random mark, and from it follow the paths of what the run leaves.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from runbook_runner.core import ids
from runbook_runner.core.disk.private import private_folder
from runbook_runner.core.errors import InputError, RecordingError
from runbook_runner.core.files import write_atomically
from runbook_runner.core.formats.json_toml import read_json
from runbook_runner.runner.recovery.seal import Seal
from runbook_runner.sandbox.base import Stamp
from runbook_runner.sandbox.labels import CLAIM_LABEL, OWNER_LABEL, RUN_LABEL, this_host

_CLAIMS = "runs"
_WORK = "work"


@dataclass(frozen=True)
class Entry:
    """What a later start must know to clean up after a run that died."""

    backend: str
    folder: str | None = None
    """The trajectory's folder, without links; `None` when nothing is recorded."""
    inode: int | None = None
    """Of that folder: nothing is written to another one that has taken its place."""
    engine: str | None = None
    """The Docker engine that has the container, as its user named it."""
    until: float = 0
    """Unix time. A container of this run has ended by itself by then."""
    kept: bool = False
    """Its user wants the sandbox to stay."""
    seal: Seal | None = None
    """Of the secrets that the sandbox may hold."""
    held: bool = False
    """Its results may wait in its sandbox although its record is closed: for its secrets, or because they could not be
    collected."""
    before: Mapping[str, Stamp] = field(default_factory=dict)
    """The files in the results that were there before the agent started."""
    collected: bool = False
    """Its results are at home; what is in the sandbox now may be what its checks have made of them."""
    settled: bool = False
    """The run has come to its end; only its sandbox stays."""

    @classmethod
    def of_record(
        cls, folder: Path, backend: str, *, engine: str | None, until: float, kept: bool, seal: Seal | None
    ) -> "Entry":
        """folder: the trajectory's. Raises OSError."""
        return cls(backend, os.path.realpath(folder), folder.stat().st_ino, engine, until, kept, seal)

    def is_removed(self) -> bool:
        """Whether its user has removed the record; of a project that is gone as a whole nobody knows whether it was
        only moved."""
        if self.folder is None:
            return True
        home = Path(self.folder).parents[3]  # below it: trajectories, collection, task, id
        return not os.path.lexists(self.folder) and home.parent.is_dir()

    def record(self) -> Path | None:
        """Returns the trajectory's folder; `None` when it is gone, or when another folder or a link has its place."""
        if self.folder is None or os.path.realpath(self.folder) != self.folder:
            return None
        with suppress(OSError):
            seen = Path(self.folder).lstat()
            if seen.st_ino == self.inode and seen.st_uid == os.geteuid():
                return Path(self.folder)
        return None


class Lock:
    """An advisory lock on a file (flock). The kernel drops it with its process, and only then."""

    def __init__(self, path: Path):
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

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
    its sandbox removed; of a sandbox that is kept the claim stays. After a death, or when the run was left before that,
    it stays for the next start."""

    def __init__(self, data: Path, trajectory_id: str, entry: Entry):
        """data: the user's data folder."""
        self.name = ids.new_claim_name(trajectory_id)
        self.entry = entry
        self._data = data
        self._lock: Lock | None = None
        self._settled = False
        self._left = False

    @property
    def work(self) -> Path:
        """The folder of this machine for the run's sandbox, which makes it."""
        return work_folder(self._data, self.name)

    def note_before(self, files: Mapping[str, Stamp]) -> None:
        """Raises RecordingError."""
        self._change(before=dict(files))

    def note_collected(self) -> None:
        """Raises RecordingError."""
        self._change(collected=True)

    def _change(self, **fields: Any) -> None:
        assert self._lock is not None
        self.entry = replace(self.entry, **fields)
        try:
            _write(self._lock.path, self.entry)
        except OSError as error:
            where = str(self._lock.path.parent)
            raise RecordingError(f"The run's claim can't be written: {error.strerror}.", where=where) from error

    def settle(self) -> None:
        """Says that nothing is left to do for a later start."""
        self._settled = not self._left

    def leave(self) -> None:
        """Says that the sandbox could not be removed: a later start only does that. Raises RecordingError."""
        self._left = True
        self._change(collected=True)

    def __enter__(self) -> "Claim":
        """Raises NotReadyError, RecordingError."""
        folder = private_folder(self._data, _CLAIMS)
        private_folder(self._data, _WORK)
        try:
            self._lock = Lock.hold(folder / f"{self.name}.lock")
            _write(self._lock.path, self.entry)
        except OSError as error:
            if self._lock:
                self._lock.drop()
            raise RecordingError(f"The run can't be claimed: {error.strerror}.", where=str(folder)) from error
        return self

    def labels(self) -> dict[str, str]:
        """Returns the labels of the run's containers."""
        owner = f"{this_host()}:{os.getpid()}"
        return {CLAIM_LABEL: self.name, RUN_LABEL: self.name.partition("-")[0], OWNER_LABEL: owner}

    def __exit__(self, *_: object) -> None:
        assert self._lock is not None
        if self._settled and self.entry.kept:
            with suppress(RecordingError):  # no room: the next start writes it
                self._change(settled=True)
        if not self._settled or self.entry.kept:
            self._lock.release()
            return
        for file in (_entry_file(self._lock.path), _wish_file(self._lock.path)):
            file.unlink(missing_ok=True)
        self._lock.drop()

    def is_wished_to_end(self) -> bool:
        """Whether a process of this user has asked for the run to be cancelled."""
        return self._lock is not None and _wish_file(self._lock.path).exists()


@dataclass(frozen=True)
class Claimed:
    """A claim as another process finds it."""

    name: str
    run_id: str
    lock: Path
    entry: Entry | None
    """`None` when its process died before it had started anything."""
    work: Path


def claimed(data: Path) -> tuple[Claimed, ...]:
    """Returns the claims of all runs of this user that have not come to their end, or whose sandbox is kept. Raises
    NotReadyError."""
    if not (data / _CLAIMS).exists():
        return ()
    found = sorted(private_folder(data, _CLAIMS).glob("*.lock"))
    named = ((lock, ids.run_of_claim(lock.stem)) for lock in found)
    return tuple(
        Claimed(lock.stem, run_id, lock, _entry(lock), work_folder(data, lock.stem)) for lock, run_id in named if run_id
    )


def is_alive(data: Path, folder: Path) -> bool:
    """Whether a process of this user runs it now. folder: the trajectory's. Raises NotReadyError."""
    place = os.path.realpath(folder)
    for claim in claimed(data):
        if claim.entry and claim.entry.folder == place and not claim.entry.settled:
            with if_dead(claim, look_only=True) as dead:
                return not dead
    return False


def live_folders(data: Path) -> frozenset[str]:
    """Real paths of the trajectory folders whose runs a process of this user runs now. Raises NotReadyError."""
    live = set()
    for claim in claimed(data):
        if claim.entry and claim.entry.folder and not claim.entry.settled:
            with if_dead(claim, look_only=True) as dead:
                if not dead:
                    live.add(claim.entry.folder)
    return frozenset(live)


def work_folder(data: Path, name: str) -> Path:
    """name: of a claim."""
    return Path(os.path.realpath(data), _WORK, f"runbook-{name}")


def _entry_file(lock: Path) -> Path:
    return lock.with_suffix(".json")


def _wish_file(lock: Path) -> Path:
    return lock.with_suffix(".cancel")


def wish_to_end(claim: Claimed) -> None:
    """Asks the live run of this claim, alone of those of its process, to stop in order. Raises OSError."""
    write_atomically(_wish_file(claim.lock), "", mode=0o600)


def claims_of(data: Path, folder: Path) -> tuple[Claimed, ...]:
    """Those of the run that is recorded in this trajectory folder. Raises NotReadyError."""
    real = os.path.realpath(folder)
    return tuple(claim for claim in claimed(data) if claim.entry and claim.entry.folder == real)


def _write(lock: Path, entry: Entry) -> None:
    write_atomically(_entry_file(lock), json.dumps(asdict(entry)), mode=0o600)


def _entry(lock: Path) -> Entry | None:
    known = {field.name for field in fields(Entry)}
    try:
        said = read_json(_entry_file(lock).read_text("utf-8"), str(lock))
        entry = Entry(**{name: value for name, value in said.items() if name in known})
        before = {str(path): (int(size), float(time)) for path, (size, time) in dict(entry.before).items()}
        return replace(entry, seal=Seal.read(entry.seal), before=before)
    except (OSError, InputError, ValueError, TypeError, AttributeError):
        return None


@contextmanager
def if_dead(claim: Claimed, *, look_only: bool = False, keep: bool = False) -> Iterator[bool]:
    """Yields whether the process that held the lock is gone. If so, this process holds it in the block, so that no
    other cleans up the same run; afterwards the claim is removed. It stays when the block fails, with look_only, and
    with keep, which says that only a sandbox is left."""
    lock = _take_over(claim.lock)
    stays = look_only
    try:
        yield lock is not None
        if lock and keep and claim.entry and not look_only:
            stays = True
            with suppress(OSError):  # no room: the next start writes it
                _write(claim.lock, replace(claim.entry, settled=True))
    except BaseException:
        stays = True
        raise
    finally:
        if lock and stays:
            lock.release()
        elif lock:
            entry = _entry_file(claim.lock)
            for part in (*claim.lock.parent.glob(f".{entry.name}.*"), entry, _wish_file(claim.lock)):
                part.unlink(missing_ok=True)
            lock.drop()


def hold_results(claim: Claimed) -> None:
    """Says that the results may wait in the sandbox though the record is closed; before it is. For the holder of the
    lock. Raises OSError."""
    if claim.entry:
        _write(claim.lock, replace(claim.entry, held=True))


def _take_over(lock_file: Path) -> Lock | None:
    """Returns the lock, held, or `None` when its run is alive, or its claim is gone."""
    if not lock_file.exists():
        return None
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
