"""Runner: brings a run of a platform into a trajectory folder: fetch, spec, record."""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runbook_runner.core.disk.lock import locked
from runbook_runner.core.disk.private import private_folder
from runbook_runner.core.errors import InputError, RecordingError
from runbook_runner.core.redaction import Redactor
from runbook_runner.core.settings import DEFAULT_RESULTS_BYTES, Settings
from runbook_runner.core.spec import RunSpec
from runbook_runner.runner.hosted.spec import HostedRun, hosted_run, spec_of
from runbook_runner.trajectory.folders import IMPORTED, INPUTS, MISSION_FILE, SPEC_FILE, TRAJECTORIES
from runbook_runner.trajectory.imports.folder import Content, record_imported
from runbook_runner.trajectory.imports.hosted import read_hosted
from runbook_runner.trajectory.imports.making_way import content_digest, require_free
from runbook_runner.trajectory.index.own_runs import note_of

if TYPE_CHECKING:
    from runbook_runner.client.addresses import RemoteRun
    from runbook_runner.client.fetch_run import FetchedRun

_DOWNLOADS: Final = "downloads"
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Pulled:
    run: "RemoteRun"
    folder: Path
    files: int
    """How many were downloaded."""
    notes: tuple[str, ...]
    """What is missing, in sentences."""
    can_rerun: bool
    is_new: bool = True
    """False: it was here already."""


def pull(
    name: str, api: str | None, most: int | None, tell: Tell, *, replace: bool = False, reuse: bool = False
) -> Pulled:
    """name: `COLLECTION/TASK/ID` or an address. most: bytes of all its files. reuse: a run that this user has pulled
    from there, and that is as it was then, is not fetched again. Raises InputError, PlatformError, RecordingError; what
    was downloaded until then is kept for the next time."""
    from runbook_runner.client.access import find_access  # imports ssl
    from runbook_runner.client.addresses import parse_run
    from runbook_runner.client.fetch_run import fetch_run
    from runbook_runner.client.platform import Platform

    run, access = parse_run(name), find_access(api)
    run.require_of(access.api, named=access.is_named)
    settings = Settings.load()
    home = settings.require_home()
    target = home / TRAJECTORIES / run.collection / run.task / run.trajectory_id
    if reuse and os.path.lexists(target):
        _require_pulled(settings, target, _source(access.api, run))
        notes = ("This run was pulled before, and is as it was: it is not fetched again.",)
        return Pulled(run, target, 0, notes, (target / SPEC_FILE).is_file(), is_new=False)
    require_free(home, target, replace=replace)
    platform = Platform(access)
    digest = hashlib.sha256(f"{access.api} {run}".encode()).hexdigest()[:16]
    downloads = private_folder(settings.data, _DOWNLOADS)
    try:
        with locked(downloads / f"{digest}.lock", lambda line, **_: tell(line), f"pulls {run}"):
            folder = private_folder(settings.data, _DOWNLOADS, digest)
            fetched = fetch_run(platform, run, folder, DEFAULT_RESULTS_BYTES if most is None else most, tell)
            pulled = _record(settings, target, run, fetched, access.api, Redactor(platform.secrets), replace=replace)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise RecordingError.of(error, downloads) from error
    return pulled


def _source(api: str, run: "RemoteRun") -> str:
    return f"{api} {run}"


def _require_pulled(settings: Settings, target: Path, source: str) -> None:
    """Raises InputError when what is here did not come from there, as when a clone has brought it, or was changed."""
    note = note_of(target, settings.data)
    try:
        if note and (note.how, note.source, note.digest) == ("pull", source, content_digest(target)):
            return
    except OSError as error:
        raise RecordingError.of(error, target) from error
    raise InputError(
        "There is a run with this id which you have not pulled from there, or which was changed since.",
        where=str(target),
        hint=f"Add --replace to pull it in the place of that one, or remove that: `runbook runs rm {target.name}`.",
    )


def _record(
    settings: Settings,
    target: Path,
    run: "RemoteRun",
    fetched: "FetchedRun",
    api: str,
    redactor: Redactor,
    *,
    replace: bool,
) -> Pulled:
    imported = read_hosted(fetched.body, str(run), origin=f"pulled from {api}, {run}")
    files: dict[str, Content] = {
        path: fetched.files[key] for key, path in imported.files.items() if key in fetched.files
    }
    files[f"{IMPORTED}/trajectory.json"] = _json(fetched.body)
    if fetched.log is not None:
        files[f"{IMPORTED}/logs.json"] = _json(fetched.log)
    hosted, notes = hosted_run(fetched.body), list(fetched.notes)
    spec = None
    if hosted is None:
        notes.append("It can't be run again: no step of it ran a runbook whose text is recorded.")
    else:
        files[f"{IMPORTED}/{MISSION_FILE}"] = hosted.document.encode("utf-8", "replace")
        spec = _spec(hosted, run, fetched, target, files, notes)
    folder = record_imported(
        settings.require_home(),
        imported.events,
        data=settings.data,
        collection=run.collection,
        task=run.task,
        trajectory_id=run.trajectory_id,
        files=files,
        redactor=redactor,
        replace=replace,
        note=notes.append,
        pulled_from=_source(api, run),
    )
    return Pulled(run, folder, len(fetched.files), tuple(notes), spec is not None)


def _spec(
    hosted: HostedRun,
    run: "RemoteRun",
    fetched: "FetchedRun",
    target: Path,
    files: dict[str, Content],
    notes: list[str],
) -> RunSpec | None:
    """The spec, which is put among the files with its inputs; `None` with a note when it can't be run here. target: the
    trajectory folder."""
    from runbook_runner.client.fetch_run import input_keys

    inputs = _input_names([key for key in input_keys(fetched.body) if key in fetched.files], fetched.files)
    lost = [key for key in input_keys(fetched.body) if key not in fetched.files]
    if lost:
        notes.append(f"It can't be run again here: {len(lost)} of its inputs could not be fetched.")
        return None
    try:
        spec, left = spec_of(hosted, str(run), run.collection, run.task, inputs, Path.cwd())
    except InputError as error:
        notes.append(f"It can't be run again here: {error}")
        return None
    notes += [f"Not in the spec: {one}." for one in left]
    kept = tuple(item.model_copy(update={"source": str(target / INPUTS / item.sha256)}) for item in spec.inputs)
    files |= {f"{INPUTS}/{item.sha256}": Path(item.source) for item in spec.inputs}
    files[SPEC_FILE] = spec.model_copy(update={"inputs": kept}).model_dump_json(indent=1).encode()
    files[MISSION_FILE] = spec.mission.encode("utf-8", "replace")
    return spec


def _input_names(keys: list[str], files: dict[str, Path]) -> tuple[tuple[str, Path], ...]:
    """Each under its basename, as the agent saw it; of two with one name the second gets `-1` (contract §5.3)."""
    named: dict[str, Path] = {}
    numbers = Counter[str]()
    for key in dict.fromkeys(keys):
        base = key.rpartition("/")[2]
        stem, dot, suffix = base.partition(".")
        name = base
        while name in named:
            numbers[base] += 1
            name = f"{stem}-{numbers[base]}{dot}{suffix}"
        named[name] = files[key]
    return tuple(named.items())


def remove_downloads(data: Path, *, look_only: bool = False) -> list[str]:
    """Returns which downloads of interrupted pulls were removed, or with look_only would be, in words. Raises OSError,
    NotReadyError."""
    from filelock import FileLock, Timeout

    if not (data / _DOWNLOADS).exists():
        return []
    said = []
    for folder in sorted(path for path in private_folder(data, _DOWNLOADS).iterdir() if path.is_dir()):
        with suppress(Timeout), FileLock(folder.with_name(f"{folder.name}.lock"), blocking=False):
            said.append(f"{'would remove' if look_only else 'removed'} the download of an interrupted pull: {folder}")
            if not look_only:
                shutil.rmtree(folder)
    return said


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace")
