"""Trajectory: the folders on disk. Layout: `{home}/trajectories/{collection}/{task}/{trajectory_id}/` (design §6)."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from runbook_runner.core import ids
from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.disk.private import FILE, FOLDER
from runbook_runner.core.disk.walk import MOST_RECORDED, walk
from runbook_runner.core.errors import InputError, RecordingError
from runbook_runner.core.events import Recorded, parse_line
from runbook_runner.core.files import is_file, is_link, make_folder, write_atomically
from runbook_runner.trajectory.export.atif import to_atif
from runbook_runner.trajectory.fold import fold
from runbook_runner.trajectory.models import Trajectory
from runbook_runner.trajectory.recorder import EVENTS_FILE

TRAJECTORIES = "trajectories"
SPEC_FILE = "spec.json"
TRAJECTORY_FILE = "trajectory.json"
MISSION_FILE = "RUNBOOK.md"
RESULTS = "results"
AGENT = "agent"
JUDGE = "judge"
CHECKS = "checks"
"""The judge's model calls, as `model` has the agent's; a run that is not judged has no such folder."""
SESSIONS = f"{AGENT}/sessions"
COLLECTED = (RESULTS, SESSIONS)
"""Folders whose files and names come from the sandbox; the runner writes all others."""

_SHORTEST = 3
_BEGINNING = rf"[0-9a-f]{{{_SHORTEST},7}}"  # of an id: ids.new_trajectory_id
_BLOCK = 1 << 16
_LONGEST_LINE = 64 << 20  # a longer one is not of this program


class UnknownTrajectoryError(InputError):
    """No trajectory has that id."""


def create_folder(home: Path, collection: str, task: str) -> tuple[str, Path]:
    """A new trajectory id and its empty folder. Raises RecordingError when it can't be made."""
    parent = home / TRAJECTORIES / collection / task
    try:
        make_folder(home)
        make_folder(parent, FOLDER)
        _keep_out_of_git(home / TRAJECTORIES)
        while True:
            trajectory_id = ids.new_trajectory_id()
            folder = parent / trajectory_id
            try:
                folder.mkdir(FOLDER)
            except FileExistsError:
                continue
            for name in (AGENT, "model", RESULTS):
                (folder / name).mkdir(FOLDER)
            return trajectory_id, folder
    except OSError as error:
        raise RecordingError(
            f"Can't make a folder for the run: {error.strerror}.",
            where=str(error.filename or parent),
            hint="Set RUNBOOK_HOME to a folder you may write to.",
        ) from error


def find_folder(home: Path, name: str) -> Path:
    """A trajectory's folder. name: the folder itself, or the id of a run below `home`, or so much of an id that it is
    the only one. Raises InputError."""
    if is_file(Path(name) / EVENTS_FILE):
        return Path(name).absolute()
    found, meant = (_logs(home, name) if ids.is_name(name) else []), "the id"
    if not found and re.fullmatch(_BEGINNING, name):
        found, meant = _logs(home, f"{name}*"), "ids that begin with"
    if not found:
        hint = "Give a trajectory's folder, or the id that `runbook run` printed; RUNBOOK_HOME says where to look."
        if re.fullmatch(rf"[0-9a-f]{{1,{_SHORTEST - 1}}}", name):
            hint = f"The beginning of an id has at least {_SHORTEST} characters. {hint}"
        raise UnknownTrajectoryError(f"There is no trajectory {name!r} in {home}.", hint=hint)
    if len(found) > 1:
        lines = "\n".join(f"  {path.parent}" for path in found)
        raise InputError(f"{len(found)} trajectories have {meant} {name}; give the folder:", hint=lines)
    return found[0].parent


def _logs(home: Path, pattern: str) -> list[Path]:
    return sorted((home / TRAJECTORIES).glob(f"*/*/{pattern}/{EVENTS_FILE}"))


def _keep_out_of_git(trajectories: Path) -> None:
    """Only these: agents and snapshots beside them are the project's."""
    ignore = trajectories / ".gitignore"
    if not ignore.exists():
        write_atomically(ignore, "*\n")


def read_events(folder: Path) -> Iterator[Recorded]:
    """The events of a run, in order; a torn last line is left out. Raises InputError when there is no log."""
    try:
        with open_regular(folder / EVENTS_FILE) as log:
            while line := log.readline(_LONGEST_LINE):
                recorded = parse_line(line.decode("utf-8", "replace"))
                if recorded:
                    yield recorded
    except FileNotFoundError as error:
        raise InputError("There is no event log here.", where=str(folder)) from error
    except OSError as error:
        raise InputError(f"The event log can't be read: {error.strerror}.", where=str(folder)) from error


def write_fold(folder: Path) -> Trajectory:
    """Folds the log of a folder into its `trajectory.json` and `agent/atif.json`. Raises RecordingError."""
    events = list(read_events(folder))
    trajectory = fold(events)
    try:
        write_atomically(folder / TRAJECTORY_FILE, trajectory.model_dump_json(indent=1) + "\n", mode=FILE)
        atif = json.dumps(to_atif(events), indent=1, ensure_ascii=False) + "\n"
        write_atomically(folder / AGENT / "atif.json", atif, mode=FILE)
    except OSError as error:
        raise RecordingError(
            f"Can't write the trajectory: {error.strerror}.",
            where=str(folder),
            hint="Its event log is complete; make room and run `runbook` again to have it folded.",
        ) from error
    return trajectory


def require_no_links(folder: Path) -> None:
    """folder: of a trajectory, which may have come with a clone: a link in it leads to what may be the user's own.
    Raises InputError, and as `walk`."""
    links = (Path(entry.path) for entry in walk(folder, most=MOST_RECORDED) if entry.is_symlink())
    if link := folder if is_link(folder) else next(links, None):
        raise InputError("There is a link in this recording.", where=str(link), hint="Put the file itself there.")


def repair(folder: Path) -> None:
    """Removes the files that a dead process was still writing, and cuts off the line that it left half written, so
    that more can be appended. Raises OSError, and as `require_no_links`."""
    require_no_links(folder)
    for file in _unfinished(folder):
        file.unlink(missing_ok=True)
    if not (folder / EVENTS_FILE).exists():
        return
    with (folder / EVENTS_FILE).open("r+b") as log:
        end = log.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - _BLOCK)
            log.seek(start)
            newline = log.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        log.truncate(end)


def _unfinished(folder: Path) -> Iterator[Path]:
    """Files with hidden names are not yet whole. Collected folders may hold hidden files of the agent, which stay."""
    collected = {folder / place for place in COLLECTED}
    inner = walk(folder, enters=lambda entry: Path(entry.path) not in collected, most=MOST_RECORDED)
    yield from (Path(entry.path) for entry in inner if entry.name.startswith(".") and not entry.is_dir())
