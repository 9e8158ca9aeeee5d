"""Runner, bundles: makes a bundle of a trajectory folder. The same run gives the same bytes: the files come in order of
their names, with one date, and nothing in it says when or where it was made.

What was redacted when the run was recorded is redacted in its bundle. Labels can be set later, so their file is
searched for what looks like a key.
"""

import hashlib
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Final, TypeVar

from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.disk.repository_files import repository_in
from runbook_runner.core.disk.walk import MOST_RECORDED, walk
from runbook_runner.core.errors import InputError, RunbookError
from runbook_runner.core.events import (
    REDACTION,
    AgentStarted,
    Evaluated,
    Event,
    Log,
    RunFinished,
    RunStarted,
    SandboxStarted,
)
from runbook_runner.core.redaction import Redactor
from runbook_runner.core.text import counted, decoded_name
from runbook_runner.runner.bundles.manifest import MANIFEST, BundledFile, BundledImage, Manifest
from runbook_runner.runner.bundles.names import BOUNDS, is_plain, require_path
from runbook_runner.runner.replay.cassette import CassetteReplay
from runbook_runner.runner.replay.recorded_run import read_recorded_run
from runbook_runner.runner.request.input_zips import is_suspicious
from runbook_runner.runner.request.inputs import with_kept_inputs
from runbook_runner.trajectory.artifacts import Readable, Scrubber
from runbook_runner.trajectory.folders import AGENT, COLLECTED, SPEC_FILE, TRAJECTORY_FILE
from runbook_runner.trajectory.imports.places import is_of_run
from runbook_runner.trajectory.overlay import LABELS_FILE
from runbook_runner.trajectory.store import read_events, require_no_links

_LONG_AGO: Final = (1980, 1, 1, 0, 0, 0)
_FOLDED: Final = frozenset({TRAJECTORY_FILE, f"{AGENT}/atif.json"})
"""What follows from the log is made anew where the bundle is taken in."""
_NEEDED: Final = (RunStarted, SandboxStarted, AgentStarted, Evaluated, RunFinished)
Kind = TypeVar("Kind", bound=Event)


def write_bundle(folder: Path, out: IO[bytes]) -> Manifest:
    """folder: of a run that no process runs any more. out: an empty file. Raises InputError for a run that can't be
    read, that has a link in it, or is larger than any bundle may be."""
    require_no_links(folder)
    manifest, paths = _about(folder), sorted(_paths(folder))
    if len(paths) >= BOUNDS.files:
        raise InputError(f"This run has {counted(len(paths), 'file')}; a bundle can hold {BOUNDS.files - 1:,}.")
    whole = _write(folder, manifest, paths, out, zipfile.ZIP_DEFLATED)
    if is_suspicious(sum(file.size for file in whole.files), out.tell()):  # whoever gets it would take it for a bomb
        out.seek(0)
        out.truncate()
        whole = _write(folder, manifest, paths, out, zipfile.ZIP_STORED)
    return whole


def _paths(folder: Path) -> Iterator[str]:
    """What a dead process was still writing is left out, and what no run has: its user may have put it there."""
    collected = {folder / place for place in COLLECTED}

    for entry in walk(folder, most=MOST_RECORDED):
        path = Path(entry.path)
        name = path.relative_to(folder).as_posix()
        is_torn = entry.name.startswith(".") and entry.name.endswith(".part") and collected.isdisjoint(path.parents)
        is_own = is_of_run(PurePosixPath(name)) and not repository_in(name.split("/"))
        if entry.is_file(follow_symlinks=False) and name not in _FOLDED and is_own and not is_torn:
            yield name


def _about(folder: Path) -> Manifest:
    events = (recorded.event for recorded in read_events(folder))
    seen = [event for event in events if isinstance(event, _NEEDED) or _is_about_secrets(event)]
    started, sandbox, agent = _last(seen, RunStarted), _last(seen, SandboxStarted), _last(seen, AgentStarted)
    evaluated, finished = _last(seen, Evaluated), _last(seen, RunFinished)
    if started is None:
        raise InputError("This run was recorded without a beginning.", where=str(folder))
    image = None
    if sandbox and sandbox.image:
        image = BundledImage(name=sandbox.image, digest=sandbox.image_digest, pinned=sandbox.image_pinned)
    return Manifest(
        trajectory_id=started.trajectory_id,
        collection=started.collection,
        task=started.task,
        status=finished.status if finished else "running",
        verdict=evaluated.verdict if evaluated else None,
        recorded_with=started.engine,
        agent=agent.agent if agent else None,
        agent_version=agent.version if agent else None,
        sandbox=sandbox.backend if sandbox else None,
        image=image,
        not_replayable=_why_not_replayable(folder),
        unsearched=tuple(event.message for event in seen if isinstance(event, Log)),
    )


def _is_about_secrets(event: Event) -> bool:
    return isinstance(event, Log) and event.source == REDACTION


def _last(seen: Sequence[Event], kind: type[Kind]) -> Kind | None:
    return next((event for event in reversed(seen) if isinstance(event, kind)), None)


def _why_not_replayable(folder: Path) -> str | None:
    """What a replay of the folder would be refused for on every machine; `None` when nothing is known."""
    if not os.path.lexists(folder / SPEC_FILE):
        return "It has no spec: it was imported from elsewhere."
    try:
        recorded = read_recorded_run(folder, str(folder))
        with_kept_inputs(recorded.spec, folder, ())
        if recorded.model_calls:
            CassetteReplay(recorded.cassette, recorded=recorded).upstream(None)
    except RunbookError as error:
        return error.message
    return None


# --- the zip -------------------------------------------------------------------------------------------------------


def _write(folder: Path, manifest: Manifest, paths: list[str], out: IO[bytes], method: int) -> Manifest:
    files: list[BundledFile] = []
    labels = Scrubber(Redactor(), "agent")
    with zipfile.ZipFile(out, "w") as archive:
        for number, path in enumerate(paths):
            require_path(path, str(folder))
            member = f"run/{path}" if is_plain(path) else f"other/{number}"
            try:
                with open_regular(folder / path) as file:
                    content: Readable = labels(path, file) if path == LABELS_FILE else file
                    size, digest = _add(archive, member, content, method)
            except OSError as error:
                raise InputError(f"The file can't be read: {error.strerror}.", where=str(folder / path)) from error
            shown = decoded_name(path)
            raw = None if shown == path else os.fsencode(path).hex()
            files.append(BundledFile(path=shown, raw_path=raw, member=member, size=size, sha256=digest))
        if (most := sum(file.size for file in files)) > BOUNDS.unpacked_bytes:
            limit = BOUNDS.unpacked_bytes >> 20
            raise InputError(f"This run has {most >> 20:,} MB; a bundle can hold {limit:,}.", where=str(folder))
        whole = manifest.model_copy(update={"files": tuple(files)})
        with archive.open(_member(MANIFEST, method), "w") as target:
            target.write(whole.text().encode())
    return whole


def _add(archive: zipfile.ZipFile, name: str, content: Readable, method: int) -> tuple[int, str]:
    """Returns the size and the SHA-256."""
    size, digest = 0, hashlib.sha256()
    with archive.open(_member(name, method), "w", force_zip64=True) as target:
        while block := content.read(1 << 20):
            size += len(block)
            digest.update(block)
            target.write(block)
    return size, digest.hexdigest()


def _member(name: str, method: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _LONG_AGO)
    info.external_attr, info.compress_type, info.create_system = 0o600 << 16, method, 3
    return info
