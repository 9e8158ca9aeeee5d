"""Runner, imports: zips: bundles, zips of a trajectory folder, or of the files of a run as the platform has them."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from runbook_runner import __version__
from runbook_runner.core.clock import BEGINNING
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import Log, RunFinished, RunStarted, parse_line
from runbook_runner.runner.bundles.manifest import WITHOUT
from runbook_runner.runner.bundles.names import BOUNDS, require_entries
from runbook_runner.runner.bundles.read import Bundle, bundle_of
from runbook_runner.runner.request.input_zips import Member, opened
from runbook_runner.sandbox.base import Readable
from runbook_runner.trajectory.folders import AGENT, EVENTS_FILE, TRAJECTORY_FILE
from runbook_runner.trajectory.imports.folder import Content
from runbook_runner.trajectory.imports.hosted import stored_places
from runbook_runner.trajectory.imports.imported import Imported, Timed

_WRITTEN_AGAIN: Final = (EVENTS_FILE, TRAJECTORY_FILE, f"{AGENT}/atif.json")
_STORED: Final = re.compile(r"(?P<id>[^/.]+)\.[^/.]+\.\d{4,9}\.[^/]+")
_LONGEST_LINE: Final = 64 << 20


@contextmanager
def read_zip(path: Path, source: str) -> Iterator[tuple[Imported, dict[str, Content]]]:
    """The members can be read in this block. Raises InputError for a zip that could do harm (`input_zips`), and for one
    that is neither."""
    with opened(path, BOUNDS) as members:
        if bundle := bundle_of(path, members):
            yield _of_bundle(bundle, source)
            return
        require_entries((member.path for member in members), str(path))
        logs = [member for member in members if PurePosixPath(member.path).name == EVENTS_FILE]
        log = min(logs, key=lambda member: member.path.count("/"), default=None)
        if log is not None and log.path.count("/") <= 1:
            yield _of_folder(log, members, source)
        elif members and all(_STORED.fullmatch(PurePosixPath(member.path).name) for member in members):
            yield _of_files(members, source)
        else:
            hint = f"It has no {EVENTS_FILE}, and its members do not have the platform's names."
            raise InputError("This zip is not that of a run.", where=str(path), hint=hint)


def _of_bundle(bundle: Bundle, source: str) -> tuple[Imported, dict[str, Content]]:
    contents: dict[str, Content] = {file.place: partial(bundle.open, file) for file in bundle.manifest.files}
    (log,) = (file for file in bundle.manifest.files if file.place == EVENTS_FILE)
    files = {path: content for path, content in contents.items() if path not in _WRITTEN_AGAIN}
    found = _recorded(_Log(EVENTS_FILE, partial(bundle.open, log)), "a bundle", source)
    lacks = tuple(f"The bundle was made without {WITHOUT[part]}." for part in bundle.manifest.lacks)
    return replace(found, notes=(*found.notes, *lacks)), files


def _of_folder(log: Member, members: Iterable[Member], source: str) -> tuple[Imported, dict[str, Content]]:
    top = log.path.removesuffix(EVENTS_FILE)
    files: dict[str, Content] = {}
    for member in members:
        inner = member.path.removeprefix(top)
        if member.path.startswith(top) and inner not in _WRITTEN_AGAIN and not inner.startswith("."):
            files[inner] = member.open
    return _recorded(_Log(log.path, log.open), "a zip of a trajectory folder", source), files


class _Log(NamedTuple):
    path: str
    """In the zip, for messages."""
    open: Callable[[], AbstractContextManager[Readable]]


def _recorded(log: _Log, form: str, source: str) -> Imported:
    events = _events(log, source)
    first = next(events, None)
    if first is None or not isinstance(first.event, RunStarted):
        raise InputError("The log in this zip does not begin with a run.", where=f"{source}: {log.path}:1")
    run = first.event
    begun = Timed(first.ts, run.model_copy(update={"origin": f"{form}, {source}"}))
    return Imported(
        form=form,
        events=_chained(begun, events),
        collection=run.collection,
        task=run.task,
        trajectory_id=run.trajectory_id,
        is_whole=True,
    )


def _chained(first: Timed, rest: Iterator[Timed]) -> Iterator[Timed]:
    yield first
    yield from rest


def _events(log: _Log, source: str) -> Iterator[Timed]:
    ts, damaged = BEGINNING, 0
    for number, line in enumerate(_lines(log), 1):
        recorded = parse_line(line.decode("utf-8", "replace"))
        if recorded is None:
            damaged = damaged or number
            continue
        ts = ts if recorded.ts == BEGINNING else recorded.ts
        yield Timed(ts, recorded.event)
    if damaged:
        message = f"{source}: {log.path}:{damaged}: from here lines of the imported log are damaged and left out"
        yield Timed(ts, Log(level="warning", message=message))


def _lines(log: _Log) -> Iterator[bytes]:
    rest = b""
    with log.open() as content:
        while block := content.read(1 << 20):
            *lines, rest = (rest + block).split(b"\n")
            yield from filter(None, lines)
            if len(rest) > _LONGEST_LINE:
                raise InputError("A line of the log in this zip is too long.", where=log.path)
    if rest:
        yield rest


def _of_files(members: Iterable[Member], source: str) -> tuple[Imported, dict[str, Content]]:
    places = stored_places(member.path for member in members)
    files: dict[str, Content] = {places[member.path]: member.open for member in members}
    names = {match["id"] for path in places if (match := _STORED.fullmatch(PurePosixPath(path).name))}
    form = "a zip of a run's files"
    run = RunStarted(
        trajectory_id="",
        collection="",
        task="",
        author="unknown",
        spec_digest="",
        init_params={},
        step_config={},
        engine=f"runbook-runner/{__version__}",
        origin=f"{form}, {source}",
    )
    unknown = Log(level="warning", message="Only the files were imported; how the run went is not known.")
    events = [run, unknown, RunFinished(status="completed", seconds=0.0, is_known=False)]
    found = Imported(
        form=form,
        events=[Timed(BEGINNING, event) for event in events],
        trajectory_id=names.pop() if len(names) == 1 else None,
        notes=(unknown.message,),
    )
    return found, files
