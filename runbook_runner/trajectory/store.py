"""Trajectory: reads the log of a trajectory folder, folds it, and repairs what a dead process has left in it."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.disk.private import FILE
from runbook_runner.core.disk.walk import MOST_RECORDED, walk
from runbook_runner.core.errors import InputError, RecordingError
from runbook_runner.core.events import Recorded, RunFinished, parse_line
from runbook_runner.core.files import is_file, is_link, opened_atomically, write_atomically
from runbook_runner.trajectory.export.atif import Atif
from runbook_runner.trajectory.fold import fold
from runbook_runner.trajectory.folders import AGENT, COLLECTED, EVENTS_FILE, TRAJECTORY_FILE
from runbook_runner.trajectory.index.own_runs import staying_own
from runbook_runner.trajectory.models import Trajectory
from runbook_runner.trajectory.overlay import Overlay, locked, overlay_as_far_as_known, touch, unset_status

_BLOCK = 1 << 16
_LONGEST_LINE = 64 << 20  # a longer one is not of this program


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


def follow_events(folder: Path, is_over: Callable[[], bool]) -> Iterator[Recorded | None]:
    """The events of a run that another process may still write, until the run has ended or `is_over`, which is asked
    only when there is nothing more to read; `None` when there is nothing now. Raises as `read_events`."""
    try:
        with open_regular(folder / EVENTS_FILE) as log:
            line, over = b"", False
            while True:
                line += log.readline(_LONGEST_LINE - len(line))
                if not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
                    if over:
                        return
                    over = is_over()  # what was written before it was over is still read
                    yield None
                    continue
                recorded, line = parse_line(line.decode("utf-8", "replace")), b""
                if recorded:
                    yield recorded
                    if isinstance(recorded.event, RunFinished):
                        return
    except FileNotFoundError as error:
        raise InputError("There is no event log here.", where=str(folder)) from error
    except OSError as error:
        raise InputError(f"The event log can't be read: {error.strerror}.", where=str(folder)) from error


def write_fold(folder: Path, data: Path | None = None) -> Trajectory:
    """Folds the log of a folder into its `trajectory.json`, with what was set since it was recorded, and into
    `agent/atif.json`; holds one event at a time. data: as `staying_own` has it. Returns what the log says. Raises
    InputError, also for a link where it would write, NotReadyError and RecordingError."""
    _require_no_link(folder / AGENT)
    try:
        with locked(folder), staying_own(folder, data):
            atif = Atif()
            trajectory = fold(_passing(read_events(folder), atif))
            write_atomically(folder / TRAJECTORY_FILE, _with_overlay(trajectory, folder), mode=FILE)
            with opened_atomically(folder / AGENT / "atif.json", mode=FILE) as out:
                atif.write(out)
        touch(folder)
    except OSError as error:
        raise RecordingError(
            f"Can't write the trajectory: {error.strerror}.",
            where=str(folder),
            hint="Its event log is complete; make room and run `runbook` again to have it folded.",
        ) from error
    return trajectory


def take_back_status(folder: Path) -> None:
    """The run has the status again that its log says. Raises InputError, RecordingError."""
    _require_no_link(folder / AGENT)
    unset_status(folder)
    if is_file(folder / TRAJECTORY_FILE):
        write_fold(folder)


def _passing(events: Iterator[Recorded], atif: Atif) -> Iterator[Recorded]:
    for recorded in events:
        atif.feed(recorded)
        yield recorded


def _with_overlay(trajectory: Trajectory, folder: Path) -> str:
    text, overlay = trajectory.model_dump_json(indent=1), overlay_as_far_as_known(folder)
    if overlay != Overlay():
        text = json.dumps(overlay.over(json.loads(text)), indent=1, ensure_ascii=False)
    return text + "\n"


def require_no_links(folder: Path) -> None:
    """folder: of a trajectory, which may have come with a clone: a link in it leads to what may be the user's own.
    Raises InputError, and as `walk`."""
    links = (Path(entry.path) for entry in walk(folder, most=MOST_RECORDED) if entry.is_symlink())
    for path in (folder, *links) if is_link(folder) else links:
        raise _link(path)


def _require_no_link(path: Path) -> None:
    if is_link(path):
        raise _link(path)


def _link(path: Path) -> InputError:
    return InputError("There is a link in this recording.", where=str(path), hint="Put the file itself there.")


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
