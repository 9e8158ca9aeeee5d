"""Core, disk: the user's own data folder, which only this user can change. What this program believes of earlier
runs lies below it: what lies in a folder that can be cloned, or that other users may write to, proves nothing."""

import os
import stat
from pathlib import Path

from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.files import make_folder

FILE = 0o600
"""The permissions of a file that only this user may read."""
PROGRAM = 0o700
"""The same of one that can be started."""
FOLDER = 0o700
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def private_folder(data: Path, *names: str) -> Path:
    """Returns the real path of `data`, or of the folder that the names lead to below it; missing folders are made, for
    this user alone. Raises NotReadyError for a folder of another user, one that others may write to, below
    `data` one that they may enter, and one that is reached through a link of another user."""
    try:
        _refuse_links_of_others(data)
        if not data.is_dir():
            make_folder(data.parent)
            _make(data)
        here = Path(os.path.realpath(data))
        _refuse_shared(here)
        for name in names:
            here = here / name
            _make(here)
            _refuse_shared(here)
            if here.lstat().st_mode & _OTHERS:  # as a folder that was cloned or unpacked
                raise _unusable(here, "is open to other users", f"Look what is in it, then `chmod 700 {here}`.")
    except OSError as error:
        hint = "Set RUNBOOK_DATA to a folder of yours on a disk with room."
        where = str(error.filename or data)
        raise NotReadyError(f"The data folder can't be used: {error.strerror}.", where=where, hint=hint) from error
    return here


def private_opener(path: str, flags: int) -> int:
    """For `open`: a new file is this user's alone, and a link is not followed."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, FILE)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=FOLDER)
    except FileExistsError:
        return
    folder.chmod(FOLDER)  # whatever the umask


def _refuse_shared(folder: Path) -> None:
    seen = folder.lstat()
    if not stat.S_ISDIR(seen.st_mode):
        raise _unusable(folder, "is a link" if stat.S_ISLNK(seen.st_mode) else "is not a folder", "Remove it.")
    if seen.st_uid != os.geteuid():
        raise _unusable(folder, "belongs to another user", "Set RUNBOOK_DATA to a folder of yours.")
    if seen.st_mode & _OTHERS_WRITE:
        raise _unusable(folder, "can be written to by other users", f"Look what is in it, then `chmod go-w {folder}`.")


def _refuse_links_of_others(path: Path) -> None:
    """On the way to it; a link of the system's (as macOS has some) or of the user's own is fine."""
    for part in reversed((path, *path.parents)):
        try:
            seen = part.lstat()
        except FileNotFoundError:
            return
        if stat.S_ISLNK(seen.st_mode) and seen.st_uid not in (0, os.geteuid()):
            raise _unusable(part, "is a link of another user", "Set RUNBOOK_DATA to a folder of yours.")


def _unusable(path: Path, what: str, hint: str) -> NotReadyError:
    return NotReadyError(f"The data folder can't be used: {path} {what}.", hint=hint)
