"""Runner, bundles: makes a bundle of a trajectory folder. The same run gives the same bytes: the files come in order of
their names, with one date, and nothing in it says when or where it was made.

What was redacted when the run was recorded is redacted in its bundle. All of it is searched again (`search`): what
holds a secret of its user is refused, what looks like a key is told. Labels can be set later, so what looks like a key
is removed from their file.
"""

import hashlib
import os
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final, TypeVar

from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.disk.repository_files import repository_in
from runbook_runner.core.disk.walk import MOST_RECORDED, walk
from runbook_runner.core.errors import InputError, RunbookError
from runbook_runner.core.events import AgentStarted, Evaluated, Event, Report, RunFinished, RunStarted, SandboxStarted
from runbook_runner.core.files import is_file
from runbook_runner.core.redaction import Redactor
from runbook_runner.core.spec import RunSpec
from runbook_runner.core.text import counted, decoded_name, printable_name
from runbook_runner.runner.bundles.manifest import MANIFEST, WITHOUT, BundledFile, BundledImage, Manifest, is_too_large
from runbook_runner.runner.bundles.names import BOUNDS, is_plain, require_entries, require_path
from runbook_runner.runner.bundles.search import Found, search
from runbook_runner.runner.replay.cassette import CassetteReplay
from runbook_runner.runner.replay.recorded_run import RecordedRun, read_recorded_run
from runbook_runner.runner.request.input_zips import is_suspicious
from runbook_runner.runner.request.inputs import with_kept_inputs
from runbook_runner.runner.request.secrets import redactor_for_user
from runbook_runner.runner.request.variables import UserVariables
from runbook_runner.trajectory.artifacts import Readable, Scrubber, unsearched_told
from runbook_runner.trajectory.folders import AGENT, CHECKS, COLLECTED, INPUTS, LABELS_FILE, SPEC_FILE, TRAJECTORY_FILE
from runbook_runner.trajectory.imports.places import is_of_run
from runbook_runner.trajectory.store import read_events, require_no_links

_LONG_AGO: Final = (1980, 1, 1, 0, 0, 0)
_FOLDED: Final = frozenset({TRAJECTORY_FILE, f"{AGENT}/atif.json"})
"""What follows from the log is made anew where the bundle is taken in."""
_NEEDED: Final = (RunStarted, SandboxStarted, AgentStarted, Evaluated, RunFinished)
Kind = TypeVar("Kind", bound=Event)
_MOST_TOLD: Final = 20


@dataclass(frozen=True)
class Written:
    manifest: Manifest
    files: Mapping[str, int]
    """First part of the path, such as `results` or `spec.json` → how many files there are of it."""
    kept: Mapping[str, tuple[str, ...]]
    """Of each of `WITHOUT`, in the bundle or left out: the names of the inputs and of the check sources."""
    found: Found


def write_bundle(
    folder: Path, out: IO[bytes], user: UserVariables, without: Collection[str], report: Report
) -> Written:
    """folder: of a run that no process runs any more. out: an empty file. user: whose secrets are searched for.
    without: which of `WITHOUT` are left out. report: gets the file that is searched or packed, as a detail. Raises
    InputError for a run that can't be read, that has a link in it, is larger than any bundle may be, or holds such a
    secret."""
    require_no_links(folder)
    recorded, obstacle = _read(folder)
    spec = recorded.spec if recorded else None
    all_paths = sorted(_paths(folder))
    paths = [path for path in all_paths if _top(path) not in without]
    if len(paths) >= BOUNDS.files:
        raise InputError(f"This run has {counted(len(paths), 'file')}; a bundle can hold {BOUNDS.files - 1:,}.")
    require_entries(paths, str(folder))
    found = search(folder, paths, spec, redactor_for_user(spec, user), report)
    if found.known:
        raise _refused(folder, found.known, user)
    manifest = _about(folder).model_copy(
        update={
            "provisional": bool(recorded and recorded.is_provisional),
            "not_replayable": obstacle,
            "unsearched": (unsearched_told(found.unsearched),) if found.unsearched else (),
            "without": tuple(part for part in WITHOUT if part in without and part in map(_top, all_paths)),
        }
    )
    kept = {INPUTS: _inputs_in(all_paths, spec), CHECKS: _sources_in(all_paths)}
    return Written(_written(folder, manifest, paths, out, report), Counter(map(_top, paths)), kept, found)


def _written(folder: Path, manifest: Manifest, paths: list[str], out: IO[bytes], report: Report) -> Manifest:
    whole = _write(folder, manifest, paths, out, zipfile.ZIP_DEFLATED, report)
    if is_suspicious(sum(file.size for file in whole.files), out.tell()):  # whoever gets it would take it for a bomb
        out.seek(0)
        out.truncate()
        whole = _write(folder, manifest, paths, out, zipfile.ZIP_STORED, report)
    return whole


def _top(path: str) -> str:
    return path.partition("/")[0]


def _inputs_in(paths: Iterable[str], spec: RunSpec | None) -> tuple[str, ...]:
    kept = {PurePosixPath(path).name for path in paths if _top(path) == INPUTS}
    named = {item.name: item.sha256 for item in spec.inputs} if spec else {}
    unnamed = kept - set(named.values())
    return (*(name for name, digest in named.items() if digest in kept), *sorted(unnamed))


def _sources_in(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(PurePosixPath(path).name.rpartition("-")[0] for path in paths if _top(path) == CHECKS)


def _refused(folder: Path, known: Mapping[str, Sequence[str]], user: UserVariables) -> InputError:
    lines = [f"  {printable_name(file)}: {', '.join(names)}" for file, names in known.items()]
    more = [f"  … and {len(lines) - _MOST_TOLD} more"] if len(lines) > _MOST_TOLD else []
    parts = sorted({_top(file) for file in known})
    if all(part in WITHOUT for part in parts):
        way = f"`{' '.join(f'--without {part}' for part in parts)}` makes a bundle that does not have them."
    else:
        name = next(iter(known.values()))[0]
        unset = f"unset its variable for this command: `env -u {name} runbook runs bundle …`"
        way = f"When a value is not a secret, {f'take {name} out of --env-file' if name in user.env_file else unset}."
    return InputError(
        f"{counted(len(known), 'file')} of this run {'holds' if len(known) == 1 else 'hold'} secrets of yours:",
        where=str(folder),
        hint="\n".join([*lines[:_MOST_TOLD], *more]),
        details=way,
    )


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
    seen = [event for event in events if isinstance(event, _NEEDED)]
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
        not_replayable=None,
        unsearched=(),
    )


def _last(seen: Sequence[Event], kind: type[Kind]) -> Kind | None:
    return next((event for event in reversed(seen) if isinstance(event, kind)), None)


def _read(folder: Path) -> tuple[RecordedRun | None, str | None]:
    """The run, `None` when its spec can't be read, and what a replay of the folder would be refused for
    on every machine; `None` when nothing is known."""
    if not os.path.lexists(folder / SPEC_FILE):
        return None, "It has no spec: it was imported from elsewhere."
    recorded = None
    try:
        recorded = read_recorded_run(folder, str(folder))
        if missing := [item.name for item in recorded.spec.inputs if not is_file(folder / INPUTS / item.sha256)]:
            raise InputError(f"Inputs were not kept with the run ({', '.join(missing)}): only its project has them.")
        with_kept_inputs(recorded.spec, folder, ())
        if recorded.model_calls:
            CassetteReplay(recorded.cassette, recorded=recorded).upstream(None)
    except RunbookError as error:
        return recorded, error.message
    return recorded, None


# --- the zip -------------------------------------------------------------------------------------------------------


def _write(folder: Path, manifest: Manifest, paths: list[str], out: IO[bytes], method: int, report: Report) -> Manifest:
    files: list[BundledFile] = []
    labels = Scrubber(Redactor(), "agent")
    with zipfile.ZipFile(out, "w") as archive:
        for number, path in enumerate(paths):
            require_path(path, str(folder))
            report(f"packing {path}", detail=True)
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
        listed = whole.text().encode()
        if is_too_large(listed):
            raise InputError("This run has too many files with long names for a bundle.", where=str(folder))
        with archive.open(_member(MANIFEST, method), "w") as target:
            target.write(listed)
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
