"""Trajectory, imports: writes the folder of a run that was recorded elsewhere: whole, or not at all."""

import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path, PurePosixPath
from typing import Final, TypeAlias

from runbook_runner.core import ids
from runbook_runner.core.clock import BEGINNING, now_iso
from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.disk.private import FOLDER, private_opener
from runbook_runner.core.disk.repository_files import IN_REPOSITORY, HeadError, HeadGuard, repository_in
from runbook_runner.core.errors import InputError, RecordingError
from runbook_runner.core.events import Artifact, Event, Log, Recorded, RunFinished, RunStarted
from runbook_runner.core.files import make_folder
from runbook_runner.core.redaction import Redactor
from runbook_runner.core.settings import DEFAULT_RESULTS_BYTES, DEFAULT_RESULTS_FILES
from runbook_runner.core.text import counted, printable_name
from runbook_runner.trajectory.artifacts import ArtifactLog, Kind, Readable, Scrubber
from runbook_runner.trajectory.folders import (
    AGENT,
    EVENTS_FILE,
    INPUTS,
    RESULTS,
    TRAJECTORIES,
    TRAJECTORY_FILE,
    create_parent,
)
from runbook_runner.trajectory.imports.aside import alone, aside, tidy
from runbook_runner.trajectory.imports.imported import Timed
from runbook_runner.trajectory.imports.making_way import (
    content_digest,
    keep_additions,
    origin_of,
    require_free,
    require_no_less,
)
from runbook_runner.trajectory.imports.places import NOT_OF_RUNS, inner_path, is_of_run
from runbook_runner.trajectory.index.own_runs import How, Note, add_note, place_of, stamp_of
from runbook_runner.trajectory.overlay import locked
from runbook_runner.trajectory.redacted import redacted
from runbook_runner.trajectory.store import write_fold

MOST_EVENTS: Final = 2_000_000
MOST_EVENT_BYTES: Final = 2 << 30
MOST_FILE_BYTES: Final = 4 * DEFAULT_RESULTS_BYTES
"""Of all files that are laid beside the events."""
MOST_FILES: Final = 2 * DEFAULT_RESULTS_FILES
_MOST_NAMED: Final = 20
_OURS: Final = frozenset({EVENTS_FILE, TRAJECTORY_FILE, f"{AGENT}/atif.json"})

Content: TypeAlias = bytes | Path | Callable[[], AbstractContextManager[Readable]]
"""What a file has in it: its bytes, a file to copy (not a link), or how to open it."""


def record_imported(
    home: Path,
    events: Iterable[Timed],
    *,
    data: Path,
    collection: str,
    task: str,
    trajectory_id: str | None = None,
    files: Mapping[str, Content] | None = None,
    are_told_of: bool = False,
    redactor: Redactor | None = None,
    replace: bool = False,
    without_time: str | None = None,
    on_replace: Callable[[str], None] | None = None,
    note: Callable[[str], None] = lambda _: None,
    pulled_from: str = "",
) -> Path:
    """Writes a trajectory folder from events that have times of their own; returns it.

    events: the first is a RunStarted, whose names and id become those given here. data: the user's data folder. files:
    path below the folder → content; `results/…` and `inputs/…` stay byte for byte but for the redactor's secrets, all
    others are cleaned of what looks like a key, too. Those of a repository, and those at the top that no run has, are
    left out. Files below `results/` and `agent/` that no event tells of are recorded as artifacts, unless
    `are_told_of`: all that were to be recorded are.
    trajectory_id: `None` makes a new one. replace: an import of this id in this task makes way, if it has no more than
    what comes in its place. without_time: the time of events that have none; `None`: now. on_replace: is told where
    the one that made way was recorded. note: is told, in sentences, what is left out; the log tells it as well.
    pulled_from: of a run that was pulled, the platform and the run there.

    Raises InputError for names that can't be, for an id that is in use, and for more than the bounds above;
    RecordingError when the disk refuses. Nothing is left behind then.
    """
    _require_names(collection, task, trajectory_id)
    trajectory_id = trajectory_id or ids.new_trajectory_id()
    parent = home / TRAJECTORIES / collection / task
    target = parent / trajectory_id
    try:
        tidy(data)
        require_free(home, target, replace=replace)
        create_parent(home, parent)
        with aside(data, target) as place:
            folder = place.folder
            for inner in (AGENT, "model", RESULTS):
                (folder / inner).mkdir(FOLDER)
            run = _Writer(folder, collection, task, trajectory_id, redactor or Redactor(), without_time or now_iso())
            run.lay(files or {})
            left_out = run.left_out()
            run.write(events, are_told_of=are_told_of)
            write_fold(folder)
            with alone(data), locked(target) if os.path.lexists(target) else nullcontext():
                require_free(home, target, replace=replace)  # others may have come since
                if os.path.lexists(target):
                    require_no_less(folder, target)
                    keep_additions(folder, target)
                    if on_replace:
                        on_replace(origin_of(target) or "")
                _note(home, data, folder, target, pulled_from)
                place.put_in_place()
            for sentence in left_out:
                note(sentence)
    except OSError as error:
        raise RecordingError(
            f"Can't write the imported run: {error.strerror or error}.",
            where=str(error.filename or target),
            hint="Nothing was imported. Make room, or set RUNBOOK_HOME to a folder you may write to.",
        ) from error
    return target


def _note(home: Path, data: Path, folder: Path, target: Path, pulled_from: str) -> None:
    """Keeps in mind that this user has brought the run, which is not in its place yet."""
    inode, digest = folder.lstat().st_ino, content_digest(folder) if pulled_from else ""
    how: How = "pull" if pulled_from else "import"
    add_note(home, data, Note(place_of(target), inode, how, digest, pulled_from, stamp_of(str(folder))))


def _require_names(collection: str, task: str, trajectory_id: str | None) -> None:
    for what, name in (("collection", collection), ("task", task), ("id", trajectory_id)):
        if name is not None and not ids.is_name(name):
            raise InputError(f"The {what} {printable_name(name[:200])!r} can't be a name.", hint=ids.NAME_HINT)


class _Writer:
    """Lays files into a folder and writes the event log of one run."""

    def __init__(
        self, folder: Path, collection: str, task: str, trajectory_id: str, redactor: Redactor, without_time: str
    ):
        self._folder = folder
        self._names = {"collection": collection, "task": task, "trajectory_id": trajectory_id}
        self._redactor, self._without_time = redactor, without_time
        self._bytes = self._seq = self._written = 0
        self._scrubbers: dict[Kind, Scrubber] = {
            "result": Scrubber(redactor, "result"),
            "agent": Scrubber(redactor, "agent"),
        }
        self._collected: dict[str, None] = {}
        """Paths of files that are recorded as artifacts unless an event tells of them."""
        self._left_out: dict[str, str] = {}
        """Paths of files and folders that are not laid → why."""

    def lay(self, files: Mapping[str, Content]) -> None:
        if len(files) > MOST_FILES:
            raise InputError(f"There are {counted(len(files), 'file')}; {MOST_FILES:,} is the limit.")
        for path, content in files.items():
            if any(path == ours or path.startswith(f"{ours}/") for ours in _OURS):
                raise InputError(f"The import writes {path} itself.")
            self._lay(inner_path(path), content)

    def left_out(self) -> list[str]:
        """Sentences about what was not laid."""
        named = list(self._left_out.items())[:_MOST_NAMED]
        said = [f"Not imported: {printable_name(path)}: {why}." for path, why in named]
        more = len(self._left_out) - len(named)
        return [*said, f"{more} more were not imported."] if more else said

    def _lay(self, path: PurePosixPath, content: Content) -> None:
        top = path.parts[0]
        scrubber = self._scrubbers["result" if top in (RESULTS, INPUTS) else "agent"]
        clean = PurePosixPath(*(scrubber.name(part) for part in path.parts))
        target = self._folder / clean
        if depth := repository_in(clean.parts):
            self._left_out["/".join(clean.parts[:depth])] = IN_REPOSITORY
            return
        if not is_of_run(path):
            self._left_out[clean.parts[0]] = NOT_OF_RUNS
            return
        try:
            make_folder(target.parent, FOLDER)
            with open(target, "xb", opener=private_opener) as out, _opened(content) as raw:
                self._copy(scrubber(str(clean), raw), out, HeadGuard(clean.name))
        except HeadError as error:
            target.unlink()
            self._left_out[str(clean)] = str(error)
            return
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise InputError(f"Two of its files can't both be {printable_name(str(clean))!r}.") from error
        if top in (RESULTS, AGENT) and len(path.parts) > 1:
            self._collected[str(clean)] = None

    def _copy(self, content: Readable, out: io.BufferedWriter, guard: HeadGuard) -> None:
        while block := content.read(1 << 20):
            guard.look(block)
            self._bytes += len(block)
            if self._bytes > MOST_FILE_BYTES:
                raise InputError(f"Its files have more than {MOST_FILE_BYTES >> 20} MB.")
            out.write(block)

    def write(self, events: Iterable[Timed], *, are_told_of: bool) -> None:
        with open(self._folder / EVENTS_FILE, "xb", opener=private_opener) as log:
            end: Timed | None = None
            last = ""
            for ts, event in events:
                if self._seq == 0:
                    if not isinstance(event, RunStarted):
                        raise InputError("What was imported does not begin with a run.")
                    event = event.model_copy(update=self._names)
                if isinstance(event, Artifact):
                    self._collected.pop(event.path, None)
                if isinstance(event, RunFinished):
                    end = Timed(ts, event)
                else:
                    self._append(log, ts, event)
                last = ts
            if self._seq == 0:
                raise InputError("There are no events in what was imported.")
            if not are_told_of:
                self._record_files(log, end.ts if end else last)
            for sentence in self.left_out():
                self._append(log, end.ts if end else last, Log(level="warning", message=sentence))
            if end:
                self._append(log, *end)

    def _record_files(self, log: io.BufferedWriter, ts: str) -> None:
        artifacts = ArtifactLog(
            self._folder, **self._names, primary=(), emit=lambda event: self._append(log, ts, event)
        )
        for path in self._collected:
            kind: Kind = "result" if path.startswith(f"{RESULTS}/") else "agent"
            place = f"/app/{path}" if kind == "result" else f"/logs/{path}"
            artifacts.add(kind, path, place, self._scrubbers[kind].hits.get(path, Counter()))

    def _append(self, log: io.BufferedWriter, ts: str, event: Event) -> None:
        self._seq += 1
        ts = self._without_time if ts == BEGINNING else ts
        recorded = Recorded(seq=self._seq, ts=ts, event=redacted(event, self._redactor))
        line = recorded.line().encode("utf-8", "backslashreplace") + b"\n"
        self._written += len(line)
        if self._seq > MOST_EVENTS or self._written > MOST_EVENT_BYTES:
            limit = f"{MOST_EVENTS:,} events or {MOST_EVENT_BYTES >> 20} MB of them"
            raise InputError(f"What was imported has more than {limit}.")
        log.write(line)


def _opened(content: Content) -> AbstractContextManager[Readable]:
    if isinstance(content, bytes):
        return nullcontext(io.BytesIO(content))
    return open_regular(content) if isinstance(content, Path) else content()
