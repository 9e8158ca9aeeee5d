"""Trajectory, index: which runs of a home this user's machine has made, and which it has brought there (`import`,
`pull`). All others came with the folder, as those of a clone do, and say of themselves what they like.

For each home an append-only file in the user's data folder. It is no cache: nothing that lies in a home can tell it
again. A run is known by its place and by the inode of its folder, and once it is over also by the stamp of the files
that tell how it ended: what is written over them later, as by `git pull`, makes it a stranger's. In a stamp are the
inodes and the kernel's times of these files, which nobody who sends a folder can choose."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple

from runbook_runner.core.disk.private import private_folder, private_opener
from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.settings import user_data
from runbook_runner.trajectory.folders import EVENTS_FILE, LABELS_FILE, SPEC_FILE, TRAJECTORIES, TRAJECTORY_FILE

FOLDER: Final = "own"
How = Literal["run", "import", "pull", "gone"]
"""`gone`: the run was removed, and another folder may get its place and its inode."""
_BROKEN = (AttributeError, LookupError, RecursionError, TypeError, ValueError)


class Note(NamedTuple):
    folder: str
    """Below the trajectories: `collection/task/id`."""
    inode: int
    """Of that folder."""
    how: How
    digest: str = ""
    """SHA-256: of the `spec.json` of a run that was made here, of all that a pull has written; else empty."""
    source: str = ""
    """Of one that was pulled: the address of the platform, and the run."""
    stamp: str = ""
    """Of its files, see `stamp_of`; empty: of a run that goes on, or that an older version has noted."""


class Known(NamedTuple):
    """What the file of a home says behind a place in it."""

    notes: list[Note]
    inode: int
    """Of the file; 0: there is none."""
    begin: int
    """Where they begin, in bytes."""
    end: int


def add_note(home: Path, data: Path, note: Note) -> None:
    """For a run of this home, before there is anything to list of it, or when it is removed. data: the user's data
    folder. Raises NotReadyError, OSError."""
    path = private_folder(data, FOLDER) / _file_of(home)
    line = json.dumps(note._asdict()).encode() + b"\n"
    descriptor = private_opener(str(path), os.O_RDWR | os.O_APPEND | os.O_CREAT)
    try:
        with suppress(OSError):  # a file system may have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":  # the disk was full once
            line = b"\n" + line
        try:
            while line:
                line = line[os.write(descriptor, line) :]
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


@contextmanager
def staying_own(folder: Path, data: Path | None = None) -> Iterator[None]:
    """In this block this program writes files of a trajectory folder: a run that is own stays so. data: the user's data
    folder; `None`: the usual one. Raises NotReadyError, OSError."""
    data = data or user_data()
    note = note_of(folder, data)
    if note is None:
        yield
        return
    home = folder.absolute().parents[3]
    if note.stamp:
        add_note(home, data, note._replace(stamp=""))  # should this process die, it is still own
    try:
        yield
    finally:
        if (folder / TRAJECTORY_FILE).exists():  # else it goes on
            add_note(home, data, note._replace(stamp=stamp_of(str(folder))))


def stamp_of(folder: str) -> str:
    """Of the files that a list tells a run from; blank: there are none. Compared by equality only, so that a clock that
    goes back does no harm."""
    return " ".join(_stamp(f"{folder}/{name}") for name in (TRAJECTORY_FILE, LABELS_FILE, EVENTS_FILE))


def _stamp(path: str) -> str:
    try:
        seen = os.lstat(path)
    except OSError:
        return ""
    return f"{seen.st_mtime_ns}:{seen.st_ctime_ns}:{seen.st_size}:{seen.st_ino}"


def place_of(folder: Path) -> str:
    """A trajectory folder, as a note names it."""
    return "/".join(folder.parts[-3:])


def known_since(home: Path, data: Path, inode: int = 0, begin: int = 0, place: str = "") -> Known:
    """The notes of a home, as far as they are behind `begin` of the file with this inode; of another file all. One that
    can't be read, or that others may have written, says nothing. place: only those of this run, or some more."""
    nothing = Known([], 0, 0, 0)
    try:
        if not (data / FOLDER).exists():
            return nothing
        path = private_folder(data, FOLDER) / _file_of(home)
        with open(path, "rb", opener=private_opener) as file:
            seen = os.fstat(file.fileno())
            if seen.st_ino != inode or seen.st_size < begin:
                begin = 0
            file.seek(begin)
            lines = file.read()
    except (NotReadyError, OSError):
        return nothing
    whole = lines[: lines.rfind(b"\n") + 1]
    meant = json.dumps(place)[1:-1].encode()
    notes = _notes(line for line in whole.splitlines() if meant in line)
    return Known(list(notes), seen.st_ino, begin, begin + len(whole))


def note_of(folder: Path, data: Path) -> Note | None:
    """What is known of the run in a trajectory folder; `None`: it came with the folder that it is in, or its files are
    not those that were noted."""
    path = folder.absolute()
    if len(path.parents) < 4 or path.parents[2].name != TRAJECTORIES:
        return None
    try:
        inode = path.lstat().st_ino
    except OSError:
        return None
    place = place_of(path)
    notes = known_since(path.parents[3], data, place=place).notes
    last = next((note for note in reversed(notes) if (note.folder, note.inode) == (place, inode)), None)
    if last is None or last.how == "gone" or last.stamp not in ("", stamp_of(str(path))):
        return None
    return last


def is_made_here(folder: Path, data: Path) -> bool:
    """Whether this user's machine has made the run in a trajectory folder, and its files and its spec are those of
    then."""
    note = note_of(folder, data)
    if note is None or note.how != "run":
        return False
    try:
        return note.digest == hashlib.sha256((folder / SPEC_FILE).read_bytes()).hexdigest()
    except OSError:
        return False


def _file_of(home: Path) -> str:
    digest = hashlib.sha256(os.path.realpath(home).encode("utf-8", "surrogateescape")).hexdigest()
    return f"{digest[:32]}.jsonl"


def _notes(lines: Iterable[bytes]) -> Iterator[Note]:
    for line in lines:
        with suppress(*_BROKEN):
            said = json.loads(line)
            known = {name: said[name] for name in Note._fields if name in said}
            yield Note(**{**known, "folder": str(said["folder"]), "inode": int(said["inode"])})
