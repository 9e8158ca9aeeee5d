"""Trajectory, imports: a folder is written aside, under a hidden name, and takes its place at once. As long as its
process lives, that one holds a claim on it in the user's data folder. What a killed import has left is found by its
claim: the run that had made way is put back, and the rest removed."""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runbook_runner.core.disk.private import FILE, FOLDER, private_folder

_CLAIMS: Final = "imports"
"""Folder in the data folder. The name of a claim is a random mark, in which the names aside end; its content is the
path of the trajectory folder."""
_MARK: Final = re.compile("[0-9a-f]{16}")
_FLAGS: Final = os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Place:
    target: Path
    """The trajectory folder."""
    mark: str

    @property
    def folder(self) -> Path:
        """Where it is written."""
        return self.target.with_name(f".{self.target.name}.{self.mark}.part")

    @property
    def old(self) -> Path:
        """Where the one is that makes way."""
        return self.target.with_name(f".{self.target.name}.{self.mark}.old")

    def put_in_place(self) -> None:
        """What is there makes way, and comes back when that fails. Raises OSError."""
        with suppress(FileNotFoundError):
            self.target.rename(self.old)
        try:
            self.folder.rename(self.target)
        finally:
            _put_back(self)
        shutil.rmtree(self.old, ignore_errors=True)


@contextmanager
def aside(data: Path, target: Path) -> Iterator[Place]:
    """data: the user's data folder. A new folder beside the target, which is removed unless it was put in its place.
    Raises OSError, NotReadyError."""
    place = Place(Path(os.path.realpath(target.parent), target.name), os.urandom(8).hex())
    with ExitStack() as stack:
        with alone(data) as claims:
            claim = claims / place.mark
            stack.callback(claim.unlink, missing_ok=True)
            descriptor = os.open(claim, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, FILE)
            stack.callback(os.close, descriptor)
            with suppress(OSError):  # a file system may have no locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.write(descriptor, os.fsencode(place.target))
        stack.callback(shutil.rmtree, place.folder, ignore_errors=True)
        place.folder.mkdir(FOLDER)
        yield place


@contextmanager
def alone(data: Path) -> Iterator[Path]:
    """One import at a time is in this block. Gives the folder of claims. Raises OSError, NotReadyError."""
    claims = private_folder(data, _CLAIMS)
    descriptor = os.open(claims, os.O_RDONLY | os.O_DIRECTORY | _FLAGS)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield claims
    finally:
        os.close(descriptor)


def tidy(data: Path, *, look_only: bool = False) -> list[str]:
    """Returns what was done about killed imports, or with look_only would be, in words. Raises OSError,
    NotReadyError."""
    if not (data / _CLAIMS).exists():
        return []
    with alone(data) as claims:
        dead = [(claim, place) for claim in sorted(claims.iterdir()) if (place := _of_dead(claim))]
        said = [line for _, place in dead for line in _told(place, look_only=look_only)]
        for claim, place in () if look_only else dead:
            _put_back(place)
            shutil.rmtree(place.folder, ignore_errors=True)
            if os.path.lexists(place.target):
                shutil.rmtree(place.old, ignore_errors=True)
            if not os.path.lexists(place.old):
                claim.unlink(missing_ok=True)
        return said


def _of_dead(claim: Path) -> Place | None:
    """`None` when its process lives. A claim is held from its beginning, so it stays dead while no import begins."""
    try:
        descriptor = os.open(claim, os.O_RDONLY | _FLAGS)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return None
        target = Path(os.fsdecode(file.read()))
    return Place(target, claim.name) if _MARK.fullmatch(claim.name) and target.is_absolute() else None


def _told(place: Place, *, look_only: bool) -> Iterator[str]:
    if os.path.lexists(place.old) and not os.path.lexists(place.target):
        did = "would put back" if look_only else "put back"
        yield f"{did} run {place.target.name}, which an interrupted import was to replace: {place.target}"
    for left in filter(os.path.lexists, (place.folder,)):
        yield f"{'would remove' if look_only else 'removed'} what an interrupted import has left: {left}"


def _put_back(place: Place) -> None:
    with suppress(OSError):
        if not os.path.lexists(place.target):
            place.old.rename(place.target)
