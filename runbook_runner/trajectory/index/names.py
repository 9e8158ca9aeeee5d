"""Trajectory, index: what a user may call a run: its folder, its id, the beginning of it, `@last`, `@last-failed`."""

import re
from pathlib import Path
from typing import Final

from runbook_runner.core import ids
from runbook_runner.core.errors import InputError
from runbook_runner.core.files import is_file, is_folder
from runbook_runner.core.text import did_you_mean
from runbook_runner.trajectory.folders import (
    EVENTS_FILE,
    LABELS_FILE,
    MISSION_FILE,
    SPEC_FILE,
    TRAJECTORIES,
    TRAJECTORY_FILE,
    UnknownTrajectoryError,
)
from runbook_runner.trajectory.index.index import Index, outcome_in, with_index
from runbook_runner.trajectory.index.rows import Row
from runbook_runner.trajectory.outcome import FAILED

_SPECIAL: Final = {"@last": "is_own = 1", "@last-failed": f"is_own = 1 AND {outcome_in(len(FAILED))}"}
_FILES: Final = (TRAJECTORY_FILE, EVENTS_FILE, SPEC_FILE, MISSION_FILE, LABELS_FILE)
_SHORTEST = 3
_MOST_TOLD = 20
_LATEST = "dated DESC, folder DESC"


def path_of(name: str) -> Path | None:
    """The file or folder that the name of a run may be. `None` for one that begins with `@`: a clone may bring a folder
    `@last`, which is meant only by `./@last`."""
    return None if name.startswith("@") or "\0" in name else Path(name)


def find_folder(home: Path, name: str) -> Path:
    """A trajectory's folder. name: that folder or a file that this program has written into it, an id or its first
    characters, `COLLECTION/TASK/ID`, `@last` or `@last-failed`, which never are runs that came with the
    folder. Raises InputError."""
    if path := path_of(name):
        path = path.parent if path.name in _FILES and is_file(path) else path
        if is_file(path / EVENTS_FILE):
            return path.absolute()
    if name.startswith("@"):
        return _special(home, name)
    found, meant = _with_id(home, name), "the id"
    if not found and ids.is_name(name) and len(name) >= _SHORTEST:
        found, meant = _beginning_with(home, name), "ids that begin with"
    if not found:
        raise _unknown(home, name)
    if len(found) > 1:
        told = [f"  {path}" for path in found[:_MOST_TOLD]]
        more = [f"  … and {len(found) - _MOST_TOLD} more"] if len(found) > _MOST_TOLD else []
        hint = "\n".join(told + more)
        raise InputError(f"{len(found)} trajectories have {meant} {name}; give the folder:", hint=hint)
    return found[0]


def _special(home: Path, name: str) -> Path:
    if name not in _SPECIAL:
        hint = did_you_mean(name, _SPECIAL) or f"Known: {', '.join(_SPECIAL)}. A path is ./@NAME."
        raise UnknownTrajectoryError(f"There is no run called {name!r}.", hint=hint)
    values = FAILED if name == "@last-failed" else ()
    rows = with_index(home, lambda index: index.rows(_SPECIAL[name], values, _LATEST, 20))
    with_log = (path for row in rows if is_file((path := folder_of(home, row)) / EVENTS_FILE))
    if latest := next(with_log, None):
        return latest
    others = with_index(home, lambda index: index.count("NOT is_own", ()))
    which = "run of yours" if others else "run"
    if name == "@last-failed":
        said = f"No {which} in {home} has ended with FAIL, ERROR or CANCELLED."
    else:
        said = f"No {which} is recorded yet in {home}."
    hint = f"Name a run that came with the folder by its id. {_where(home)}" if others else _where(home)
    raise UnknownTrajectoryError(said, hint=hint)


def _where(home: Path) -> str:
    there = "" if is_folder(home) else f"There is no folder {home}. "
    return f"{there}RUNBOOK_HOME says where to look."


def folder_of(home: Path, row: Row) -> Path:
    return home / TRAJECTORIES / row.folder


def _with_id(home: Path, name: str) -> list[Path]:
    """Without the index: there are few task folders."""
    parts = name.split("/")
    if len(parts) not in (1, 3) or not all(map(ids.is_name, parts)):
        return []
    pattern = f"*/*/{name}" if len(parts) == 1 else name
    return sorted(path.parent for path in (home / TRAJECTORIES).glob(f"{pattern}/{EVENTS_FILE}"))


def _beginning_with(home: Path, name: str) -> list[Path]:
    def of(index: Index) -> list[Row]:
        return index.rows("id >= ? AND id < ?", (name, f"{name}\U0010ffff"), _LATEST, 1000)

    found = [folder_of(home, row) for row in with_index(home, of)]
    return sorted(path for path in found if is_file(path / EVENTS_FILE))


def _unknown(home: Path, name: str) -> InputError:
    hint = f"Give a trajectory's folder, or the id that `runbook run` printed. {_where(home)}"
    if re.fullmatch(rf"[0-9a-f]{{1,{_SHORTEST - 1}}}", name):
        hint = f"The beginning of an id has at least {_SHORTEST} characters. {hint}"
    elif (path := path_of(name)) and is_file(path):
        hint = "It is a file: `runbook import FILE` makes a run of it, if it is a bundle or an export."
    elif ids.is_name(name):

        def near(index: Index) -> list[str]:
            where, values = "id LIKE ? OR id LIKE ?", (f"{name[:2]}%", f"%{name[-3:]}")
            return [row.id for row in index.rows(where, values, _LATEST, 200)]

        meant = did_you_mean(name, with_index(home, near)) if len(name) > _SHORTEST else None
        hint = " ".join(filter(None, [meant, hint]))
    return UnknownTrajectoryError(f"There is no trajectory {name!r} in {home}.", hint=hint)
