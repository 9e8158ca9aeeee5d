"""Sandbox: removes a folder that hostile processes filled: of any depth, with rights taken away, still written to."""

import errno
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from runbook_runner.core import settings
from runbook_runner.core.errors import SandboxError

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GOING: Final = ".removed"
_DEPTH: Final = 50  # each level takes a descriptor
_CHANGING: Final = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)
_PATIENCE_S: Final = settings.GRACE_S + 2  # what a dead run's command writes until its supervisor has ended it


def remove_folder(folder: Path) -> None:
    """Follows no link; a missing one is fine. Raises SandboxError."""
    until = time.monotonic() + _PATIENCE_S
    going = _renamed(folder)
    while os.path.lexists(going):
        try:
            _remove(going)
        except OSError as error:
            if error.errno not in _CHANGING or time.monotonic() >= until:
                hint = "Remove it by hand."
                raise SandboxError(f"Can't remove the work folder {going}: {error}.", hint=hint) from error
            time.sleep(0.05)


def _renamed(folder: Path) -> Path:
    """Whoever visits it sees it gone at once, and leaves; a later start knows it by the beginning of its name."""
    going = folder.with_name(folder.name.removesuffix(_GOING) + _GOING)
    with suppress(OSError):
        if stat.S_ISDIR(folder.lstat().st_mode):
            return folder.rename(going)
    return folder


def _remove(top: Path) -> None:
    """What is too deep comes up to the top first, so that neither a path nor the stack grows with the depth."""
    if stat.S_ISDIR(top.lstat().st_mode):
        top.chmod(0o700)
    here = os.open(top, _FOLDER)
    try:
        while inner := list(_folders_left(here)):
            for name in inner:
                _dissolve(here, name, top=here, depth=1)
    finally:
        os.close(here)
    top.rmdir()


def _dissolve(parent: int, name: str, *, top: int, depth: int) -> None:
    folder = os.open(name, _FOLDER, dir_fd=parent)
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
    """The folders in it, each to be entered now; all else in it is removed."""
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            os.chmod(entry.name, 0o700, dir_fd=folder)
            yield entry.name
        else:
            os.unlink(entry.name, dir_fd=folder)
