"""Runner, checks: the check sources of a run: probed before anything is started, and put into its sandbox when its
agent has ended; what was probed is what is put."""

import posixpath
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal

from runbook_runner.core.errors import InputError, NotReadyError, RunbookError, SandboxError
from runbook_runner.core.events import Log
from runbook_runner.core.settings import APP, CHECKS, INPUT_ENTRIES, KEPT_INPUTS_BYTES
from runbook_runner.core.text import counted, printable_name
from runbook_runner.runner.cancellation import Cancellation
from runbook_runner.runner.checks.git import MOST_BYTES, Git, open_git
from runbook_runner.runner.checks.sources import GitSource, pack_name
from runbook_runner.runner.live_run import Run
from runbook_runner.runner.request.inputs import keep_copy, secret_in
from runbook_runner.sandbox.base import PutFile, Readable, Sandbox
from runbook_runner.sandbox.temp_folders import beside_folder
from runbook_runner.trajectory.folders import CHECKS as KEPT

_MOST_FILES: Final = 10_000
_CLONE_S: Final = 300.0
"""For all sources of a run together, to fetch them and each time that they are put."""
_REMOVE_S: Final = 60.0
_SEARCHED_BYTES: Final = 64 << 20
"""Of the files of a source, for secrets."""
_PROGRAM: Final = "100755"
_LINK: Final = "120000"
_MOST_PATH: Final = 4096
"""Bytes of a path, and of what a link says; Linux takes no more."""
_MOST_LINKS: Final = 40
"""In a row, as on Linux."""
_SMALLER: Final = "Keep a smaller one for the checks."
_NOT_PUT: Final = 5  # named


class Clones:
    def __init__(self, run: Run):
        self._run = run
        self._ids = {source.name: source.number for source in run.prepared.sources if source.pack}
        self._room = KEPT_INPUTS_BYTES

    def probe(self) -> None:
        """Finds out what each source is now. Raises InputError, NotReadyError and CancelledError."""
        run = self._run
        live = [source for source in run.prepared.sources if source.pack is None]
        if not live:
            return
        with run.emit.phase("sources"):
            for source in live:
                with self._git(source, run.claim.work) as git:
                    found = git.probe()
                self._ids[source.name] = found.id
                named = f", its {source.ref}" if source.ref and source.ref != found.commit else ""
                message = f"The check source {source.name} is the commit {found.commit} of {source.url}{named}."
                run.emit(Log(message=message))

    def put_for_agent(self, sandbox: Sandbox) -> None:
        """Where the agent carries out checks, it needs them as well."""
        criteria = self._run.spec.criteria
        if criteria.checks.sources and any(check.executor == "agent" for check in criteria.code_checks):
            with self._run.emit.phase("sources"), self.fetched(_CLONE_S) as files:
                files.put(sandbox, _CLONE_S)

    @contextmanager
    def fetched(self, timeout_s: float) -> Iterator["SourceFiles"]:
        """Fetches them, into a folder of this machine that is gone at the end. Raises RunbookError."""
        run = self._run
        if missing := [one.name for one in run.spec.criteria.checks.sources if one.name not in self._ids]:
            message = f"The check source {missing[0]} was not kept with the run that is replayed."
            raise NotReadyError(message, hint="A replay fetches nothing.")
        room = _Room(run.spec.limits.disk_bytes, min(timeout_s, _CLONE_S), run.cancellation)
        with ExitStack() as stack:
            places = {source.name: f"{CHECKS}/{source.name}" for source in run.prepared.sources}
            try:
                folder = stack.enter_context(beside_folder(run.claim.work)) if places else Path()
            except OSError as error:
                raise NotReadyError(f"The check sources can't be fetched: {error.strerror}.") from error
            files = [
                file
                for source in run.prepared.sources
                for file in self._files(source, folder, places[source.name], room)
            ]
            yield SourceFiles(tuple(places.values()), files, room)

    def _files(self, source: GitSource, folder: Path, place: str, room: "_Room") -> list[PutFile]:
        run, number = self._run, self._ids[source.name]
        room.check()
        with self._git(source, folder / "git") as git:
            git.bring(number, max(room.left_s(), 1.0))
            try:
                found = _commit(source, git, number, folder / f"content-{source.name}", room.check)
                files, left_out = found.files(place)
            except RunbookError:
                raise
            except (ValueError, KeyError) as error:
                raise source.wrong("can't be read: its objects are damaged.") from error
            room.take(source, files)
            self._keep(source, git, found)
        if left_out:
            names = ", ".join(printable_name(name) for name in left_out[:_NOT_PUT])
            more = f" and {counted(len(left_out) - _NOT_PUT, 'more')}" if len(left_out) > _NOT_PUT else ""
            run.emit.warn(f"Of the check source {source.name} not put into the sandbox: {names}{more}.")
        return files

    def _keep(self, source: GitSource, git: Git, found: "_Commit") -> None:
        """For a replay. Raises RecordingError."""
        run, pack = self._run, git.pack()
        copy = run.folder / KEPT / pack_name(source, found.number)
        if copy.exists():
            return
        size = pack.stat().st_size
        if size > self._room or found.content.stat().st_size > _SEARCHED_BYTES:
            problem: str | None = "it is too large"
        else:
            problem = secret_in(found.listed, run.redactor) or secret_in(found.content.read_bytes(), run.redactor)
        if problem:
            run.emit.warn(f"The check source {source.name} is not kept with the run, for a replay: {problem}.")
            return
        keep_copy(pack, copy)
        self._room -= size

    def _git(self, source: GitSource, work: Path) -> AbstractContextManager[Git]:
        value = self._run.prepared.secrets.values.get(source.secret) if source.secret else None
        return open_git(source, work, value, self._run.cancellation.ends_with)


class SourceFiles:
    """What all sources of a run bring, on this machine."""

    def __init__(self, places: tuple[str, ...], files: Sequence[PutFile], room: "_Room"):
        self._places = places
        self._files = files
        self._room = room

    def put(self, sandbox: Sandbox, timeout_s: float) -> None:
        """Puts them in the place of what is there. Raises RunbookError."""
        if not self._places:
            return
        self._room.begin(min(timeout_s, _CLONE_S))
        argv = ["rm", "-rf", "--", *map(sandbox.localise, self._places)]
        if sandbox.exec(argv, cwd=APP, deadline_s=_REMOVE_S).wait().code != 0:
            raise SandboxError(f"What is at {' '.join(self._places)} in the sandbox can't be removed.")
        sandbox.put(self._files)


class _Room:
    """What the sources of a run may take together."""

    def __init__(self, disk_bytes: int, timeout_s: float, cancellation: Cancellation):
        self._disk_bytes = disk_bytes
        self._cancellation = cancellation
        self.begin(timeout_s)
        self._size = 0
        self._entries = 0

    def begin(self, timeout_s: float) -> None:
        """What follows has this time."""
        self._timeout_s = timeout_s
        self._until = time.monotonic() + timeout_s

    def left_s(self) -> float:
        return self._until - time.monotonic()

    def check(self) -> None:
        """Raises CancelledError, and NotReadyError when the time is over."""
        self._cancellation.check()
        if self.left_s() <= 0:
            raise NotReadyError(f"The check sources of this run take longer than {self._timeout_s:g} s.")

    def take(self, source: GitSource, files: Sequence[PutFile]) -> None:
        """Counts what is written: a link is the content of the file that it leads to. Raises InputError."""
        size = sum(file.source.size for file in files if isinstance(file.source, _Part))
        if size > MOST_BYTES:
            raise source.wrong(
                f"has files of more than {MOST_BYTES >> 20} MB, with those that links lead to.", _SMALLER
            )
        self._size += size
        if self._size > self._disk_bytes:
            most = f"its sandbox may use {self._disk_bytes >> 20:,}"
            raise InputError(
                f"The check sources of this run take {self._size >> 20:,} MB or more, and {most}.",
                hint="Keep smaller ones for the checks, or give it more with --disk.",
            )
        folders = set[str]()
        for file in files:  # each name may make hundreds of folders
            folder = posixpath.dirname(file.path)
            while folder not in folders:
                folders.add(folder)
                folder = posixpath.dirname(folder)
            if self._entries + len(files) + len(folders) > INPUT_ENTRIES:
                raise source.wrong(f"brings more than {INPUT_ENTRIES:,} files and folders.", _SMALLER)
        self._entries += len(files) + len(folders)


# --- the files of a commit -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Entry:
    path: str
    mode: str
    blob: str
    size: int


@dataclass(frozen=True)
class _Part:
    """Some bytes of a file: a `Source`."""

    file: Path
    start: int
    size: int
    check: Callable[[], None]
    """Called before it is opened: raises RunbookError when that should go no further."""

    @contextmanager
    def open(self, _: Literal["rb"], /) -> Iterator[Readable]:
        self.check()
        with self.file.open("rb") as whole:
            whole.seek(self.start)
            yield _Rest(whole, self.size)


class _Rest:
    def __init__(self, file: BinaryIO, size: int):
        self._file = file
        self._left = size

    def read(self, size: int, /) -> bytes:
        block = self._file.read(min(size, self._left))
        self._left -= len(block)
        return block


@dataclass(frozen=True)
class _Commit:
    number: str
    listed: bytes
    """As `Git.tree` has it."""
    entries: dict[str, _Entry]
    left_out: list[str]
    content: Path
    """As `Git.contents` has it, of the commit and its files."""
    parts: dict[str, _Part]
    """Of it, by id."""

    def files(self, place: str) -> tuple[list[PutFile], list[str]]:
        """Also returns the names of what is left out: a link that leads to no file of the same commit, or by too many
        others, a submodule, a name that is not UTF-8."""
        files, left_out = [], [*self.left_out]
        targets = {path: self._target(entry) for path, entry in self.entries.items() if entry.mode == _LINK}
        for path in self.entries:
            end = self._followed(path, targets)
            if end is None:
                left_out.append(path)
            else:
                mode = 0o777 if end.mode == _PROGRAM else 0o666
                files.append(PutFile(f"{place}/{path}", self.parts[end.blob], mode))
        return files, left_out

    def _target(self, link: _Entry) -> str:
        """The path that a link names; empty for what leads out."""
        if link.size > _MOST_PATH:
            return ""
        with self.parts[link.blob].open("rb") as content:
            return _joined(link.path, content.read(_MOST_PATH).decode("utf-8", "replace"))

    def _followed(self, path: str, targets: dict[str, str]) -> _Entry | None:
        """The file that a path is, or that a link leads to; `None` when that is no file of the same commit."""
        for _ in range(_MOST_LINKS):
            if path not in targets:
                break
            path = targets[path]
        return None if path in targets else self.entries.get(path)


def _commit(source: GitSource, git: Git, number: str, content: Path, check: Callable[[], None]) -> _Commit:
    """Nothing of the repository is obeyed: no attribute, no filter, no hook. content: the file to make. check: of each
    `_Part`. Raises InputError."""
    listed = git.tree(number)
    entries, left_out = _entries(source, listed)
    asked = [number, f"{number}^{{commit}}", *(entry.blob for entry in entries.values())]
    git.contents(list(dict.fromkeys(asked))).replace(content)
    return _Commit(number, listed, entries, left_out, content, _parts(content, check))


def files_in(source: GitSource, git: Git, content: Path) -> Iterator[tuple[str, AbstractContextManager[Readable]]]:
    """Yields the path and the content of each file of the commit that `git` has brought, and the commit itself.
    content: the file to make. Raises InputError, and ValueError or KeyError for damaged objects."""
    commit = _commit(source, git, source.number, content, lambda: None)
    if commit.left_out:
        raise source.wrong(f"has {commit.left_out[0]!a}, which is not read.")
    yield "its commit", commit.parts[commit.number].open("rb")
    for path, entry in commit.entries.items():
        yield path, commit.parts[entry.blob].open("rb")


def _entries(source: GitSource, listed: bytes) -> tuple[dict[str, _Entry], list[str]]:
    """By path. Raises InputError for more than is put, and for a path that no git makes."""
    found, left_out, size = dict[str, _Entry](), list[str](), 0
    lines = listed.split(b"\0", _MOST_FILES + 1)
    if len(lines) > _MOST_FILES + 1:
        raise source.wrong(f"has more than {_MOST_FILES:,} files.", _SMALLER)
    for line in filter(None, lines):
        facts, _, name = line.partition(b"\t")
        mode, kind, blob, length = facts.decode().split()
        if len(name) > _MOST_PATH:
            raise source.wrong(f"has a path of more than {_MOST_PATH:,} bytes.")
        path = name.decode("utf-8", "replace")
        if any(part in ("", ".", "..") or part.lower() == ".git" for part in path.split("/")):
            raise source.wrong(f"has a path that can't be: {path!a}.")
        if kind != "blob" or path.encode() != name or path in found:
            left_out.append(path)
            continue
        size += int(length)
        found[path] = _Entry(path, mode, blob, int(length))
    if size > MOST_BYTES:
        raise source.wrong(f"has files of more than {MOST_BYTES >> 20} MB.", _SMALLER)
    return found, left_out


def _parts(content: Path, check: Callable[[], None]) -> dict[str, _Part]:
    """Of what `cat-file --batch` has printed: `ID blob SIZE`, a line end, the content, a line end."""
    found, at = dict[str, _Part](), 0
    with content.open("rb") as file:
        while head := file.readline(200):
            blob, _, size = head.decode().split()
            start = at + len(head)
            found[blob] = _Part(content, start, int(size), check)
            at = start + int(size) + 1
            file.seek(at)
    return found


def _joined(link: str, target: str) -> str:
    """Empty for what leads out."""
    if target.startswith("/"):
        return ""
    parts = link.split("/")[:-1]
    for part in target.split("/"):
        if part == ".." and not parts:
            return ""
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
