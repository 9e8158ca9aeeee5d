"""Runner, recovery: removes trajectory folders, each at once: it is renamed aside, under a hidden name in the same
folder, before anything in it is removed. Live runs stay, and no link is followed."""

import os
import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.files import is_link
from runbook_runner.runner.recovery.claims import claims_of, is_alive
from runbook_runner.sandbox.temp_folders import remove_folder
from runbook_runner.trajectory.index.own_runs import Note, add_note, place_of
from runbook_runner.trajectory.index.rows import Row
from runbook_runner.trajectory.overlay import locked

_ASIDE: Final = re.compile(r"\.[\w. -]{1,128}\.[0-9a-f]{16}(\.removed)*\.removed")


def remove_run(data: Path, folder: Path) -> None:
    """Raises InputError for a live run and for a link, RunbookError when it can't be removed."""
    if is_link(folder):
        raise InputError("This is a link; remove it yourself.", where=str(folder))
    aside = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.removed")
    try:
        with locked(folder):
            if is_alive(data, folder):
                raise InputError(f"Run {folder.name} is live.", hint=f"`runbook runs cancel {folder.name}` ends it.")
            inode = folder.lstat().st_ino
            folder.rename(aside)
    except OSError as error:
        raise NotReadyError(f"The run can't be removed: {error.strerror}.", where=str(folder)) from error
    with suppress(NotReadyError, OSError):
        add_note(folder.parents[3], data, Note(place_of(folder), inode, "gone"))
    remove_folder(aside)


def remove_rest(tasks: Iterable[Path]) -> None:
    """Removes what a killed removal has left in these task folders. Raises SandboxError."""
    for task in tasks:
        try:
            with os.scandir(task) as entries:
                rest = [Path(entry.path) for entry in entries if _ASIDE.fullmatch(entry.name)]
        except OSError:
            continue
        for folder in rest:
            if not is_link(folder):
                remove_folder(folder)


def size_of(folder: Path) -> int:
    """Bytes on the disk of the files below it; what can't be read counts nothing."""
    total, left = 0, [str(folder)]
    while left:
        try:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue
    return total


def doubt_about_end(data: Path, folder: Path, row: Row | None) -> str | None:
    """Why a run that is not live here may not be over (another user's process may have it), or not all of it may be in
    its folder; `None`: it is whole. Raises NotReadyError."""
    if row is None or row.status in ("running", "pending"):
        return "its end is not recorded"
    if row.status is None:
        return f"its end is not known: {row.problem}"
    if any(claim.entry and not claim.entry.settled for claim in claims_of(data, folder)):
        return "its results may still be in its sandbox"
    return None
