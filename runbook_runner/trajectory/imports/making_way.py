"""Trajectory, imports: an import makes way for a newer one of the same run, which has no less. What the user has added
to it stays."""

import hashlib
import os
import re
from itertools import count
from pathlib import Path
from typing import Final

from runbook_runner.core.disk.links import copy_tree, open_regular
from runbook_runner.core.disk.private import FOLDER
from runbook_runner.core.disk.walk import MOST_RECORDED, files_below
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import RunStarted
from runbook_runner.core.files import is_link, make_folder
from runbook_runner.core.text import counted
from runbook_runner.trajectory.folders import IMPORTED, JUDGE, LABELS_FILE, RESULTS, TRAJECTORIES, TRAJECTORY_FILE
from runbook_runner.trajectory.overlay import keep_overlay
from runbook_runner.trajectory.store import read_events

_NUMBER: Final = re.compile(r"[1-9]\d{0,8}", re.ASCII)


def content_digest(folder: Path) -> str:
    """SHA-256 of all that was brought, without what is said of it later: labels, a status, verdicts of judges. Raises
    InputError, OSError."""
    digest = hashlib.sha256()
    for path in files_below(folder, most=MOST_RECORDED):
        name = path.relative_to(folder)
        if name.parts[0] not in (TRAJECTORY_FILE, LABELS_FILE, JUDGE):
            digest.update(f"{str(name)!a}\0".encode())
            with open_regular(path) as file:
                while block := file.read(1 << 20):
                    digest.update(hashlib.sha256(block).digest())
            digest.update(b"\0")
    return digest.hexdigest()


def require_free(home: Path, target: Path, *, replace: bool) -> None:
    """Raises InputError when a trajectory has the id of the target folder already. replace: but not for an import that
    is there."""
    if replace and os.path.lexists(target):
        if origin_of(target) is None:
            hint = f"Give the import another id with --id, or remove the run first: `runbook runs rm {target.name}`."
            raise InputError("This run was recorded here: no import can replace it.", where=str(target), hint=hint)
        return
    taken = next((home / TRAJECTORIES).glob(f"*/*/{target.name}"), None)
    if taken is not None:
        hint = "Give it another id with --id" + (", or --replace." if taken == target else ".")
        raise InputError(f"There is a trajectory {target.name} already.", where=str(taken), hint=hint)


def origin_of(folder: Path) -> str | None:
    """Where an import was recorded; `None` for a run of this machine, and for what can't be read."""
    try:
        first = next(read_events(folder), None)
    except InputError:
        return None
    return first.event.origin if first and isinstance(first.event, RunStarted) else None


def require_no_less(new: Path, old: Path) -> None:
    """Raises InputError when what is there tells more than what is to take its place."""
    events = [sum(1 for _ in read_events(folder)) for folder in (new, old)]
    files = [sum(1 for _ in files_below(folder / RESULTS, most=MOST_RECORDED)) for folder in (new, old)]
    hint = f"Give the new one another id with --id, or remove the old one first: `runbook runs rm {old.name}`."
    if events[1] > events[0] or files[1] > files[0]:
        told = [f"{counted(e, 'event')} and {counted(f, 'result')}" for e, f in zip(events, files, strict=True)]
        message = f"The run that is there has more: {told[1]}, the new one {told[0]}."
        raise InputError(message, where=str(old), hint=hint)
    if lost := sorted(_parts(old) - _parts(new)):
        message = f"The run that is there has more: {', '.join(lost)}, which the new one does not have."
        raise InputError(message, where=str(old), hint=hint)


def _parts(folder: Path) -> set[str]:
    """Files and folders with files at its top, without the file that it was made of and what `keep_additions` keeps."""
    files = (path.relative_to(folder).parts for path in files_below(folder, most=MOST_RECORDED))
    kept = (LABELS_FILE, TRAJECTORY_FILE, IMPORTED)
    return {
        top for top, *below in files if top not in kept and not (top == JUDGE and below and _NUMBER.fullmatch(below[0]))
    }


def keep_additions(new: Path, old: Path) -> None:
    """Labels, a status, and verdicts of judges, which were paid for: the user has added them to the run that makes way.
    Raises InputError, OSError."""
    keep_overlay(new, old)
    known, number = {content_digest(verdict) for verdict in _verdicts(new)}, 0
    for verdict in _verdicts(old):
        if content_digest(verdict) not in known:
            number = next(free for free in count(number + 1) if not os.path.lexists(new / JUDGE / str(free)))
            make_folder(new / JUDGE / str(number), FOLDER)
            copy_tree(verdict, new / JUDGE / str(number))


def _verdicts(folder: Path) -> list[Path]:
    """The folders of `runbook judge`, in the order in which they were made."""
    if is_link(judge := folder / JUDGE) or not judge.is_dir():
        return []
    with os.scandir(judge) as entries:
        found = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    return sorted((path for path in found if _NUMBER.fullmatch(path.name)), key=lambda path: int(path.name))
