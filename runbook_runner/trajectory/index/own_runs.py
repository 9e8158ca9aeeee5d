"""Trajectory, index: which runs of a home this user's machine has made, and which it has brought there (`import`,
`pull`). All others came with the folder, as those of a clone do, and say of themselves what they like.

For each home an append-only file in the user's data folder. It is no cache: nothing that lies in a home can tell it
again. A run is known by its place and by the inode of its folder, which nobody who sends a folder can choose."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple

from runbook_runner.core.disk.private import private_folder, private_opener
from runbook_runner.core.errors import NotReadyError
from runbook_runner.trajectory.folders import SPEC_FILE, TRAJECTORIES

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


def place_of(folder: Path) -> str:
    """A trajectory folder, as a note names it."""
    return "/".join(folder.parts[-3:])


def known_since(home: Path, data: Path, inode: int = 0, begin: int = 0) -> Known:
    """The notes of a home, as far as they are behind `begin` of the file with this inode; of another file all. One that
    can't be read, or that others may have written, says nothing."""
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
    return Known(list(_notes(whole.splitlines())), seen.st_ino, begin, begin + len(whole))


def note_of(folder: Path, data: Path) -> Note | None:
    """What is known of the run in a trajectory folder; `None`: it came with the folder that it is in."""
    path = folder.absolute()
    if len(path.parents) < 4 or path.parents[2].name != TRAJECTORIES:
        return None
    try:
        inode = path.lstat().st_ino
    except OSError:
        return None
    found = (
        note
        for note in known_since(path.parents[3], data).notes
        if (note.folder, note.inode) == (place_of(path), inode)
    )
    last = next(reversed([*found]), None)
    return None if last and last.how == "gone" else last


def is_made_here(folder: Path, data: Path) -> bool:
    """Whether this user's machine has made the run in a trajectory folder, and its spec is the one of then."""
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
