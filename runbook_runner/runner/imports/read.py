"""Runner, imports: recognises what a file is by its content, reads it, and records it as a trajectory."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from runbook_runner.agents.sessions import form_of
from runbook_runner.core import ids
from runbook_runner.core.clock import iso, now_iso
from runbook_runner.core.errors import InputError, RecordingError
from runbook_runner.core.files import is_file, read_bounded, text_of
from runbook_runner.core.formats.json_toml import has_more_values, plain_json, read_json
from runbook_runner.core.text import printable_name
from runbook_runner.runner.bundles.read import is_zip
from runbook_runner.runner.imports.archive import read_zip
from runbook_runner.runner.imports.sessions import LONGEST_LINE, read_session
from runbook_runner.trajectory.folders import EVENTS_FILE, IMPORTED, TRAJECTORIES
from runbook_runner.trajectory.imports.atif import is_atif, read_atif
from runbook_runner.trajectory.imports.folder import Content, record_imported
from runbook_runner.trajectory.imports.hosted import is_hosted, read_hosted
from runbook_runner.trajectory.imports.imported import Imported
from runbook_runner.trajectory.index.own_runs import Note, add_note, note_of, place_of, stamp_of

COLLECTION: Final = "imported"
_MOST_JSON: Final = 128 << 20
_KNOWN: Final = (
    "It can be a bundle, ATIF, a trajectory of the platform, a zip of one of our trajectory folders or of the "
    "platform's files, or a session file of Claude Code or Codex."
)


@dataclass(frozen=True)
class Recorded:
    """What an import has made."""

    folder: Path
    collection: str
    task: str
    trajectory_id: str
    form: str
    notes: tuple[str, ...]
    replaced: str | None = None
    """Where the run was recorded that made way; `None`: there was none."""
    was_here: bool = False
    """Nothing was recorded: it only counts as brought here from now on."""


def import_file(
    home: Path,
    path: Path,
    *,
    data: Path,
    collection: str | None = None,
    task: str | None = None,
    trajectory_id: str | None = None,
    replace: bool = False,
) -> Recorded:
    """Records what the file tells of a run, or takes on the run of this home whose folder it is. data: the user's data
    folder. `None`: as the file names it, where it does and its name can be one. Raises InputError for a file that is
    none of the known ones or is broken, and as `record_imported`."""
    if _is_run_of(home, path):
        return _taken_on(home, path, data)
    if not path.is_file():
        what, hint = "This is a folder" if path.is_dir() else "There is no such file", _KNOWN
        if is_file(path / EVENTS_FILE):
            what = "This is a folder of a run in another home"
            hint = "`runbook runs bundle FOLDER -o FILE` makes a file of it, which can be imported."
        raise InputError(f"{what}.", where=str(path), hint=hint)
    replaced, notes = list[str](), list[str]()
    with _read(path) as (found, files):
        collection = collection or _name(found.collection) or COLLECTION
        task = task or _name(found.task) or ids.slug(found.form.removeprefix("a "))
        folder = record_imported(
            home,
            found.events,
            data=data,
            collection=collection,
            task=task,
            trajectory_id=trajectory_id or _name(found.trajectory_id),
            files=files,
            are_told_of=found.is_whole,
            replace=replace,
            without_time=_changed(path),
            on_replace=replaced.append,
            note=notes.append,
        )
    return Recorded(
        folder, collection, task, folder.name, found.form, (*found.notes, *notes), next(iter(replaced), None)
    )


def _is_run_of(home: Path, path: Path) -> bool:
    folder = Path(os.path.realpath(path))
    in_place = len(folder.parents) > 2 and folder.parents[2] == Path(os.path.realpath(home / TRAJECTORIES))
    return in_place and is_file(folder / EVENTS_FILE)


def _taken_on(home: Path, path: Path, data: Path) -> Recorded:
    """What came with its home, as with a clone or a project that was moved, counts as brought there by this user."""
    folder = Path(os.path.realpath(path))
    try:
        if note_of(folder, data) is None:
            add_note(home, data, Note(place_of(folder), folder.lstat().st_ino, "import", stamp=stamp_of(str(folder))))
    except OSError as error:
        raise RecordingError(f"It can't be noted as yours: {error.strerror}.", where=str(data)) from error
    collection, task, trajectory_id = folder.parts[-3:]
    return Recorded(folder, collection, task, trajectory_id, "a run of this folder", (), was_here=True)


def _changed(path: Path) -> str:
    """When the file was written, but not in the future: the time of a run whose file tells none."""
    return min(iso(datetime.fromtimestamp(path.stat().st_mtime, UTC)), now_iso())


def _name(wished: str | None) -> str | None:
    return wished if wished and ids.is_name(wished) else None


@contextmanager
def _read(path: Path) -> Iterator[tuple[Imported, dict[str, Content]]]:
    source = printable_name(path.name)
    if is_zip(path):
        with read_zip(path, source) as (run, files):
            yield run, files
        return
    try:
        with path.open("rb") as file:
            form = form_of(_first_line(file))
    except OSError as error:
        raise InputError(f"The file can't be read: {error.strerror}.", where=str(path)) from error
    found = read_session(path, form, source) if form else _document(path, source)
    yield found, {f"{IMPORTED}/{_kept_as(path)}": lambda: path.open("rb")}


def _first_line(file: BinaryIO) -> Any:
    """The first that is not blank, as JSON; `None` for anything else."""
    for _ in range(100):
        line = file.readline(LONGEST_LINE)
        if line.strip() or not line:
            try:
                return None if has_more_values(line) else plain_json(json.loads(line))
            except (ValueError, RecursionError):
                return None
    return None


def _document(path: Path, source: str) -> Imported:
    text = text_of(read_bounded(path, "file", _MOST_JSON), str(path))
    if text.lstrip()[:1] not in ("{", "["):
        raise InputError("This is not a run that can be imported.", where=str(path), hint=_KNOWN)
    body = read_json(text, str(path))
    if is_atif(body):
        return read_atif(body, source)
    if is_hosted(body):
        return read_hosted(body, source)
    raise InputError("This JSON is not a run that can be imported.", where=str(path), hint=_KNOWN)


def _kept_as(path: Path) -> str:
    """The file's name in letters that every file system takes."""
    stem = ids.slug(path.stem)[:80] or "original"
    suffix = ids.slug(path.suffix)[:10]
    return f"{stem}.{suffix}" if suffix else stem
