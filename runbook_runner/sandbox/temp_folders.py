"""Sandbox: the temporary folders of sandboxes: made, found again after their process has died, and removed.

A folder is named after its run, and a file in it says which backend made it and which labels it has. What a sandbox has
left in its folder is hostile: links are never followed, and neither depth nor missing permissions keep it there.
"""

import errno
import json
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Final

from runbook_runner.core import settings
from runbook_runner.core.errors import NotReadyError, SandboxError
from runbook_runner.core.formats.json_toml import read_json

_PREFIX: Final = "runbook-"
_REMOVED: Final = ".removed"
MEMORY: Final = Path("/dev/shm")  # noqa: S108
"""A folder for what must not reach a disk."""
# Below the runner's own folder of every sandbox: the folder of a host sandbox is itself `/app`.
_OWNER: Final = f"{settings.PRIVATE.removeprefix(f'{settings.APP}/')}/owner.json"
_OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEPTH: Final = 50  # each level takes a descriptor
_CHANGING: Final = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)
_PATIENCE_S: Final = settings.GRACE_S + 2  # a dead run's command may write until its supervisor has ended it


@dataclass(frozen=True)
class OwnedFolder:
    path: Path
    backend: str
    labels: Mapping[str, str]


def temp_folder() -> Path:
    """Returns the folder in which they are made. Raises NotReadyError when it can't be written to."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise NotReadyError(
            "No folder for temporary files can be written to.",
            hint="Is the disk full? `runbook clean` removes what dead runs have left; TMPDIR names another folder.",
            details=error.strerror,
        ) from error


def usual_folder() -> Path:
    """Returns the folder in which to look for them, also while the disk is full."""
    try:
        return temp_folder()
    except NotReadyError:
        return Path(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108


def make_folder(run_id: str, backend: str, labels: Mapping[str, str]) -> Path:
    """Makes a folder in `temp_folder()` that only its owner may enter. labels: say which run it belongs to; a folder
    without labels is not found after its process has died. Raises OSError."""
    _check_place(tempfile.gettempdir())
    folder = Path(os.path.realpath(tempfile.mkdtemp(prefix=f"{_PREFIX}{run_id}-")))
    if labels:
        owner = folder / _OWNER
        owner.parent.mkdir()
        owner.write_text(json.dumps({"backend": backend, "labels": dict(labels)}))
    return folder


def _check_place(place: str) -> None:
    """Raises OSError for a name that events and labels can't hold."""
    try:
        place.encode()
    except UnicodeEncodeError as error:
        raise OSError(errno.EILSEQ, f"the name of {place!a} is not UTF-8; set TMPDIR to another folder") from error


@contextmanager
def memory_folder(run_id: str) -> Iterator[Path]:
    """Makes a folder for copies that hold secrets, in memory where the system can. Found again like the others."""
    place = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{run_id}-", dir=place) as folder:
        yield Path(folder)


def open_folder(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)


def find_folders(temp: Path, run_id: str) -> tuple[Path, ...]:
    """Returns the folders of a run below the temporary folder it used: its sandbox, or the sockets of its container."""
    return tuple(_users_own(temp, f"{escape(run_id)}-*"))


def owned_folders(temp: Path) -> Iterator[OwnedFolder]:
    """Yields the folders that say which run they belong to."""
    for folder in _users_own(temp, "*"):
        if owned := owned_folder(folder):
            yield owned


def owned_folder(folder: Path) -> OwnedFolder | None:
    """Returns `None` for a folder that does not say which run it belongs to, or that is gone."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        said = read_json((folder / _OWNER).read_bytes(), _OWNER)
        return OwnedFolder(folder, str(said["backend"]), {str(k): str(v) for k, v in said["labels"].items()})
    return None


def _users_own(temp: Path, pattern: str) -> Iterator[Path]:
    with suppress(OSError):
        for folder in sorted(temp.resolve().glob(f"{_PREFIX}{pattern}")):
            seen = folder.lstat()
            # Every user may write there: a link or another user's folder must not be removed.
            if stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.getuid():
                yield folder


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


def _renamed(folder: Path) -> Path:
    """Renames it, so that attached commands see at once that it is gone; a later start finds it by the beginning of its
    name. Returns where it is now."""
    there = folder.with_name(folder.name.removesuffix(_REMOVED) + _REMOVED)
    with suppress(OSError):
        if stat.S_ISDIR(folder.lstat().st_mode):
            return folder.rename(there)
    return folder


def _remove(top: Path) -> None:
    """Folders that are too deep are moved to the top first, so that neither paths nor the stack grow with it. The file
    that says whose it is goes last: by it a removal that was interrupted is found and finished."""
    if stat.S_ISDIR(top.lstat().st_mode):
        top.chmod(0o700)
    here = os.open(top, _OPEN_FOLDER)
    private, owner = _OWNER.split("/")
    try:
        while inner := list(_folders_left(here)):
            if inner == [private] and _is_emptied(here, private, owner):
                break
            for name in inner:
                if name != private:
                    _dissolve(here, name, top=here, depth=1)
        if inner:
            _dissolve(here, private, top=here, depth=1)
    finally:
        os.close(here)
    top.rmdir()


def _is_emptied(top: int, name: str, spared: str) -> bool:
    """Removes the files in that folder but one, and moves the folders in it to the top; whether there were none."""
    folder = os.open(name, _OPEN_FOLDER, dir_fd=top)
    try:
        inner = list(_folders_left(folder, spared))
        for each in inner:
            os.rename(each, secrets.token_hex(16), src_dir_fd=folder, dst_dir_fd=top)
    finally:
        os.close(folder)
    return not inner


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


def _folders_left(folder: int, spared: str = "") -> Iterator[str]:
    """Removes all but the folders in it, and yields those, with the permission to enter. spared: a file that stays."""
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            os.chmod(entry.name, 0o700, dir_fd=folder)
            yield entry.name
        elif entry.name != spared:
            os.unlink(entry.name, dir_fd=folder)
