"""Trajectory: the result files of a run: what its log says of them, and what there is."""

import os
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.disk.walk import MOST_RECORDED, files_below
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import Artifact
from runbook_runner.core.files import read_stream
from runbook_runner.core.formats.json_toml import read_json
from runbook_runner.core.text import decoded_name, did_you_mean
from runbook_runner.trajectory.folders import MOST_SPEC_BYTES, RESULTS, SPEC_FILE
from runbook_runner.trajectory.store import read_events

_MOST_NAMED, _MOST_TOLD = 1000, 10
_PLACEHOLDER = re.compile(r"<[^<>]*>")


@dataclass(frozen=True)
class ResultFile:
    path: str
    """Below the trajectory's folder, POSIX; its bytes may not be UTF-8."""
    size: int | None
    """`None`: it was collected and is not there any more."""
    content_type: str | None
    """`None`: the log does not know it."""
    primary: int | None
    """Position among the primary outputs, 0-based."""


def result_files(folder: Path) -> list[ResultFile]:
    """The primary ones first, the others by path. Links are not among them. Raises InputError."""
    events = (recorded.event for recorded in read_events(folder))
    recorded = {event.path: event for event in events if isinstance(event, Artifact) and event.kind == "result"}
    found = {path.relative_to(folder).as_posix(): path for path in files_below(folder / RESULTS, most=MOST_RECORDED)}
    files = []
    for path in found.keys() | (recorded.keys() - {decoded_name(path) for path in found}):
        event = recorded.get(decoded_name(path))
        size = _size(found[path]) if path in found else None
        kind, primary = (event.content_type, event.primary) if event else (None, None)
        files.append(ResultFile(path, size, kind, primary))
    files.sort(key=lambda file: (file.primary is None, file.primary or 0, file.path))
    return files


def _size(file: Path) -> int | None:
    try:
        return os.lstat(file).st_size
    except OSError:  # removed meanwhile
        return None


def named_file(files: list[ResultFile], name: str | None, folder: Path) -> ResultFile:
    """name: its path, `results/` may be left out; `None`: the primary output, or the first file where the runbook names
    none. Raises InputError when there is none."""
    there = [file for file in files if file.size is not None]
    if name is None:
        return _primary(there, folder)
    wanted = {name, f"{RESULTS}/{name}"}
    found = next((file for file in there if file.path in wanted or decoded_name(file.path) in wanted), None)
    if found is None:
        known = [file.path.removeprefix(f"{RESULTS}/") for file in there[:_MOST_NAMED]]
        hint = did_you_mean(name.removeprefix(f"{RESULTS}/"), known) or "`runbook runs files` lists what there is."
        raise InputError(f"This run has made no file {name!r}.", where=str(folder), hint=hint)
    return found


def _primary(there: list[ResultFile], folder: Path) -> ResultFile:
    if not there:
        raise InputError("This run has made no files.", where=str(folder))
    wanted = _primary_output(folder)
    if wanted is None:
        return there[0]
    pattern = _PLACEHOLDER.sub("*", wanted)
    names = [decoded_name(file.path).removeprefix(f"{RESULTS}/") for file in there]
    for file, name in zip(there, names, strict=True):
        if name == wanted or name.startswith(f"{wanted}/") or fnmatchcase(name, pattern):
            return file
    more = f" and {len(names) - _MOST_TOLD} more" if len(names) > _MOST_TOLD else ""
    hint = f"There are: {', '.join(names[:_MOST_TOLD])}{more}. Name one, as in `runbook runs open {folder.name} FILE`."
    raise InputError(f"The primary output {wanted!r} is missing.", where=str(folder), hint=hint)


def _primary_output(folder: Path) -> str | None:
    """The most important one that the runbook names; `None` also for a run without a spec that can be read."""
    path = folder / SPEC_FILE
    try:
        with open_regular(path) as file:
            spec = read_json(read_stream(file, str(path), "spec", MOST_SPEC_BYTES), str(path))
    except (OSError, InputError):
        return None
    named = spec.get("primary_outputs") if isinstance(spec, dict) else None
    return named[0] if isinstance(named, list) and named and isinstance(named[0], str) else None
