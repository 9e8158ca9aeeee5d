"""Sandbox: the folders of sandboxes on this machine: made, found again after their process has died, and removed.

A run's claim names them, in the user's data folder; nothing in them is believed. What a sandbox has left in its folder
is hostile: links are never followed, and neither depth nor missing permissions keep it there.
"""

import errno
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from runbook_runner.core import settings
from runbook_runner.core.errors import SandboxError

_PREFIX: Final = "runbook-"
_REMOVED: Final = ".removed"
MEMORY: Final = Path("/dev/shm")  # noqa: S108
"""A folder for what must not reach a disk; every user may write to it."""
_COPIES: Final = ".copies"
_BESIDE: Final = ".beside"
_OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEPTH: Final = 50  # each level takes a descriptor
_CHANGING: Final = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)
_PATIENCE_S: Final = settings.GRACE_S + 2  # a dead run's command may write until its supervisor has ended it


def make_folder(folder: Path | None) -> Path:
    """Makes the folder, or a new temporary one, that only its owner may enter. Raises OSError, also when it is there:
    it may be another's."""
    if folder is None:
        _check_name(tempfile.gettempdir(), "TMPDIR")
        return Path(os.path.realpath(tempfile.mkdtemp(prefix=_PREFIX)))
    _check_name(str(folder), "RUNBOOK_DATA")
    folder.mkdir(mode=0o700)
    folder.chmod(0o700)  # whatever the umask
    return folder


def _check_name(place: str, variable: str) -> None:
    """Raises OSError for a name that events can't hold."""
    try:
        place.encode()
    except UnicodeEncodeError as error:
        message = f"the name of {place!a} is not UTF-8; set {variable} to another folder"
        raise OSError(errno.EILSEQ, message) from error


@contextmanager
def memory_folder(work: Path) -> Iterator[Path]:
    """Makes a folder for copies that hold secrets, in memory where the system can. work: the folder of the run's
    sandbox, by whose name this one is found again. Raises OSError."""
    folder = _make_copies(*_copies(work), mine=own_folders(work))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def beside_folder(work: Path) -> Iterator[Path]:
    """Makes a folder on disk that no sandbox sees. work: as above. Raises OSError."""
    folder = work.with_name(f"{work.name}{_BESIDE}")
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_copies(place: Path, *others: Path, mine: tuple[Path, ...]) -> Path:
    """Another user who sees the name of a run in the list of processes may have taken the place in memory."""
    try:
        if place in mine:  # of a recovery that died
            remove_folder(place)
        place.mkdir(mode=0o700)
    except FileExistsError:
        if not others:
            raise
        return _make_copies(*others, mine=mine)
    return place


def _copies(work: Path) -> Iterator[Path]:
    name = f"{work.name}{_COPIES}"
    if MEMORY.is_dir():
        yield MEMORY / name
    yield work.with_name(name)


def open_folder(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)


def own_folders(work: Path) -> tuple[Path, ...]:
    """Returns the folders that the sandbox with this folder has left, whole or half removed."""
    places = (work, *_copies(work), work.with_name(f"{work.name}{_BESIDE}"))
    return tuple(there for place in places for there in (place, _aside(place)) if _is_own(there))


def _is_own(path: Path) -> bool:
    """Every user may write where some of them are: a link or another user's folder must not be removed."""
    with suppress(OSError):
        seen = path.lstat()
        return stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.geteuid()
    return False


def remove_folder(folder: Path) -> None:
    """Follows no link. A missing folder is fine. Raises SandboxError."""
    until = time.monotonic() + _PATIENCE_S
    there = _renamed(folder)
    while os.path.lexists(there):
        try:
            _remove(there)
        except OSError as error:
            if error.errno not in _CHANGING or time.monotonic() >= until:
                hint = "Remove it by hand."
                raise SandboxError(f"Can't remove the temporary folder {there}: {error}.", hint=hint) from error
            time.sleep(0.05)


def _aside(folder: Path) -> Path:
    return folder.with_name(folder.name.removesuffix(_REMOVED) + _REMOVED)


def _renamed(folder: Path) -> Path:
    """Renames it, so that attached commands see at once that it is gone. Returns where it is now."""
    with suppress(OSError):
        if stat.S_ISDIR(folder.lstat().st_mode):
            return folder.rename(_aside(folder))
    return folder


def _remove(top: Path) -> None:
    """Folders that are too deep are moved to the top first, so that neither paths nor the stack grow with it."""
    if stat.S_ISDIR(top.lstat().st_mode):
        top.chmod(0o700)
    here = os.open(top, _OPEN_FOLDER)
    try:
        while inner := list(_folders_left(here)):
            for name in inner:
                _dissolve(here, name, top=here, depth=1)
    finally:
        os.close(here)
    top.rmdir()


def _dissolve(parent: int, name: str, *, top: int, depth: int) -> None:
    folder = os.open(name, _OPEN_FOLDER, dir_fd=parent)
    try:
        for inner in _folders_left(folder):
            if depth < _DEPTH:
                _dissolve(folder, inner, top=top, depth=depth + 1)
            else:
                os.rename(inner, secrets.token_hex(16), src_dir_fd=folder, dst_dir_fd=top)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=parent)


def _folders_left(folder: int) -> Iterator[str]:
    """Removes all but the folders in it, and yields those, with the permission to enter."""
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            os.chmod(entry.name, 0o700, dir_fd=folder)
            yield entry.name
        else:
            os.unlink(entry.name, dir_fd=folder)
