"""Runner, checks: a check source that is a folder of this machine. It may have come with a stranger's project, and its
configuration names programs, so no git works in it: git reads a stand-in, which has our configuration, its references
and a pointer to its objects."""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from threading import Event
from typing import Final

from runbook_runner.core.apart.process import OnCancel
from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.disk.walk import walk
from runbook_runner.core.errors import InputError
from runbook_runner.core.spec import InputFile
from runbook_runner.core.text import counted
from runbook_runner.runner.checks.sources import GitSource

_MOST: Final = 200_000
"""Files and folders of a repository."""
_MOST_BYTES: Final = 64 << 20
"""Of its references, of which each file and folder takes a block."""
_BLOCK: Final = 4096
_LONGEST: Final = 4200
"""Of one: an id, or `ref: ` and the path of another, which has at most 4,096 bytes."""
# They lead to objects and references elsewhere: gitrepository-layout of git.
_LEADS_OUT: Final = ("commondir", "objects/info/alternates", "objects/info/http-alternates")


def make_repository(folder: Path, *, sha256: bool = False) -> None:
    """An empty bare one, unless it is there; without git, whose templates and defaults are others'. Raises OSError."""
    if folder.exists():
        return
    for name in ("objects/info", "refs"):
        (folder / name).mkdir(parents=True)
    version, more = (1, "[extensions]\n\tobjectFormat = sha256\n") if sha256 else (0, "")
    config = f"[core]\n\trepositoryFormatVersion = {version}\n\tbare = true\n"
    # Git maps packs into its memory, of which it does not have much.
    config += "\tpackedGitWindowSize = 32m\n\tpackedGitLimit = 256m\n"
    (folder / "config").write_text(config + more)
    (folder / "HEAD").write_text("ref: refs/heads/none\n")


def fill_stand_in(source: GitSource, stand_in: Path, on_cancel: OnCancel) -> None:
    """stand_in: a new bare repository. Raises InputError for what is no repository of its own, CancelledError and
    OSError."""
    assert source.folder
    git = _folder_of_git(source, source.folder)
    stopped = Event()
    with on_cancel(stopped.set):
        _require_own(source, git, stopped)
        _copy_references(source, git, stand_in, stopped)
    (stand_in / "objects/info/alternates").write_bytes(os.fsencode(git / "objects") + b"\n")


def references_digest(source: GitSource) -> str:
    """SHA-256, in hex, of what says which commits it has. Raises as `fill_stand_in`."""
    assert source.folder
    digest, git = hashlib.sha256(), _folder_of_git(source, source.folder)
    for name, content in _references(source, git, Event()):
        digest.update(b"%d %b\0%b" % (len(content or b""), os.fsencode(name), content or b""))
    return digest.hexdigest()


def came_along(sources: Iterable[GitSource]) -> tuple[InputFile, ...]:
    """Those in folders, as files of the run that came with its runbook: they decide what its checks do. No input has
    such a name. Raises InputError for what is no repository, or can't be read."""
    try:
        return tuple(
            InputFile(name=f"--sources/{source.name}", sha256=references_digest(source), size=0, source=source.url)
            for source in sources
            if source.folder
        )
    except OSError as error:
        raise InputError(f"It can't be read: {error.strerror}.", where=str(error.filename)) from error


def _copy_references(source: GitSource, git: Path, stand_in: Path, stopped: Event) -> None:
    for name, content in _references(source, git, stopped):
        if content is None:
            (stand_in / name).mkdir()
        else:
            (stand_in / name).write_bytes(content)


def _references(source: GitSource, git: Path, stopped: Event) -> Iterator[tuple[str, bytes | None]]:
    """Yields name → content, and `None` for a folder. Ends early when `stopped` is set."""
    left = _MOST_BYTES
    for name, most in (("HEAD", _LONGEST), ("packed-refs", _MOST_BYTES)):
        if (git / name).exists():
            yield name, (content := _read(source, git / name, most))
            left -= len(content)
    for entry in _entries(git / "refs", stopped):
        name = os.path.relpath(entry.path, git)
        if (left := left - _BLOCK) < 0:
            raise source.wrong(f"has references of more than {_MOST_BYTES >> 20} MB.", "`git gc` packs them.")
        if entry.is_dir(follow_symlinks=False):
            yield name, None
        elif entry.is_file(follow_symlinks=False):
            yield name, _read(source, Path(entry.path), _LONGEST)


def _entries(folder: Path, stopped: Event) -> Iterator["os.DirEntry[str]"]:
    return takewhile(lambda _: not stopped.is_set(), walk(folder, most=_MOST))


def _read(source: GitSource, file: Path, most: int) -> bytes:
    """Raises InputError for one with more than `most` bytes, and OSError."""
    with open_regular(file) as content:
        data = content.read(most + 1)
    if len(data) > most:
        raise source.wrong(f"has more in {file.name!a} than references: over {counted(most, 'byte')}.")
    return data


def _folder_of_git(source: GitSource, folder: Path) -> Path:
    inner = folder / ".git"
    if os.path.lexists(inner):
        if not stat.S_ISDIR(inner.lstat().st_mode):
            raise source.wrong("has its `.git` elsewhere, as a submodule and a working tree have.", "Name that one.")
        folder = inner
    if "\n" in str(folder):
        raise source.wrong("has a line end in its path.")
    if not (folder / "HEAD").is_file() or not (folder / "objects").is_dir():
        raise source.wrong(f"is no git repository: {source.folder}.")
    return folder


def _require_own(source: GitSource, git: Path, stopped: Event) -> None:
    """All that git would read is in the folder itself. Ends early when `stopped` is set."""
    for name in _LEADS_OUT:
        if os.path.lexists(git / name):
            raise source.wrong(f"has a part of itself elsewhere: {name} says where.", "Make a whole clone of it.")
    try:
        other = next((entry for entry in _entries(git, stopped) if not _is_plain(entry)), None)
    except InputError as error:
        raise source.wrong(f"can't be looked through: {error.message}", "`git gc` packs what is in it.") from error
    if other:
        what = "a link" if other.is_symlink() else "a pipe or a device"
        raise source.wrong(f"has {what} in it: {os.path.relpath(other.path, git)!a}.", "Make a whole clone of it.")


def _is_plain(entry: "os.DirEntry[str]") -> bool:
    """Git would wait for the other end of a pipe. A socket (`fsmonitor--daemon.ipc`) can't be opened as a file."""
    if entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False):
        return True
    return stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode)
