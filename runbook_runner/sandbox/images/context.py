"""Docker sandbox: what goes into the build of a snapshot: the regular files of its folder, read once, so that the
content that was trusted is the content that is built.

A snapshot of a project came with a clone: none of its links is followed. One to a file of the same context is that
file's content under another name; every other link is refused, as pipes, devices and sockets are.
"""

import os
import posixpath
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runbook_runner.core.errors import InputError
from runbook_runner.sandbox.images.ignore import IGNORE_FILE, MAX_IGNORE_BYTES, MOST_COMPARED, Ignored

DOCKERFILE: Final = "Dockerfile"
MAX_DOCKERFILE_BYTES: Final = 1_000_000
MAX_FILES: Final = 10_000
MAX_FILES_BYTES = 256 << 20
_MAX_DEPTH: Final = 50
_LEVELS: Final = 3  # a project's .runbook/snapshots/NAME
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_MOST: Final = {DOCKERFILE: MAX_DOCKERFILE_BYTES, IGNORE_FILE: MAX_IGNORE_BYTES}


@dataclass
class Room:
    """What may still be read, of one snapshot or of several."""

    files: int = field(default_factory=lambda: MAX_FILES)
    content: int = field(default_factory=lambda: MAX_FILES_BYTES)
    """Bytes."""
    compared: int = MOST_COMPARED
    """Names of `.dockerignore` with names of paths."""
    shared: bool = False
    """It is for several."""


def read_context(folder: Path, *, offered: bool, room: Room | None = None) -> dict[str, bytes]:
    """Returns the files by their path below the folder, without what its `.dockerignore` names. offered: a project
    offers it. room: what it takes is taken from this. Raises InputError that names the file."""
    with _opened(folder, offered=offered, room=room) as reader:
        return reader.context()


def read_dockerfile(folder: Path, *, offered: bool) -> bytes:
    """As `read_context`."""
    with _opened(folder, offered=offered) as reader:
        return reader.content(DOCKERFILE, reader.top, DOCKERFILE)


class _Reader:
    """Reads below a folder that is open, so that nobody can put another in its place."""

    def __init__(self, folder: Path, top: int, room: Room, *, offered: bool):
        self.top = top
        self._folder = folder
        self._offered = offered
        self._room = room

    def context(self) -> dict[str, bytes]:
        names = os.listdir(self.top)  # noqa: PTH208 - a descriptor
        lines = self.content(IGNORE_FILE, self.top, IGNORE_FILE) if IGNORE_FILE in names else b""
        try:
            ignored = Ignored(lines, self._room.compared)
        except InputError as error:
            error.where = str(self._folder / IGNORE_FILE)
            raise
        files: dict[str, bytes] = {}
        links: dict[str, str] = {}
        for path, name, place in self._entries(ignored):
            if self._offered and self._is_link(name, place) and path != DOCKERFILE:
                target = os.readlink(name, dir_fd=place)
                links[path] = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
            else:
                files[path] = self.content(path, place, name)
            self._room.files -= 1
            if self._room.files < 0:
                raise self._too_much(f"has more than {MAX_FILES} files")
        self._room.compared = ignored.left
        return files | {path: self._linked(path, target, files) for path, target in links.items()}

    def content(self, path: str, place: int, name: str) -> bytes:
        """place: the folder that it is in, open. Raises InputError for what is not a regular file, OSError."""
        try:
            descriptor = os.open(name, _FILE | (os.O_NOFOLLOW if self._offered else 0), dir_fd=place)
        except OSError:
            if self._is_link(name, place):
                raise self._refused(path, "is a link") from None
            raise
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise self._refused(path, "is not a regular file")
            most = _MOST.get(path, MAX_FILES_BYTES)
            content = file.read(min(most, self._room.content) + 1)
        if len(content) > most:
            raise self._refused(path, f"has more than {most // 1000} kB")
        return self._counted(content)

    def _entries(self, ignored: Ignored) -> Iterator[tuple[str, str, int]]:
        """Yields path, name, and the folder that it is in, of all that is not a folder."""
        for where, folders, names, place in os.fwalk(".", dir_fd=self.top, onerror=_raise):
            above = posixpath.normpath(where).removeprefix(".")
            if above.count("/") >= _MAX_DEPTH:
                raise self._too_much(f"has more than {_MAX_DEPTH} folders in each other")
            inner = [name for name in folders if not self._is_link(name, place)]
            for name in sorted({*folders, *names} - {*inner}):
                path = self._utf8(posixpath.join(above, name))
                if not ignored.has(path) and (self._offered or name not in folders):
                    yield path, name, place
            folders[:] = [name for name in inner if not ignored.has_all_of(posixpath.join(above, name))]

    def _linked(self, path: str, target: str, files: dict[str, bytes]) -> bytes:
        if target not in files:
            raise self._refused(path, "is a link to what is not a file of the snapshot")
        return self._counted(files[target])

    def _counted(self, content: bytes) -> bytes:
        self._room.content -= len(content)
        if self._room.content < 0:
            raise self._too_much(f"has more than {MAX_FILES_BYTES >> 20} MB: it is too large")
        return content

    def _is_link(self, name: str, place: int) -> bool:
        return stat.S_ISLNK(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode)

    def _utf8(self, path: str) -> str:
        try:
            path.encode()
        except UnicodeEncodeError:
            raise self._refused(os.fsencode(path).decode("utf-8", "replace"), "has a name that is not UTF-8") from None
        return path

    def _refused(self, path: str, what: str) -> InputError:
        hint = f"A snapshot is made of regular files in its own folder; {IGNORE_FILE} can leave it out."
        return InputError(f"The file {what}.", where=str(self._folder / path), hint=hint)

    def _too_much(self, what: str) -> InputError:
        which = "snapshot, with those before it," if self._room.shared else "snapshot"
        hint = "Let the Dockerfile fetch what is large, or leave files out with .dockerignore."
        if self._room.shared:
            hint = f"Name this one alone: `runbook trust {shlex.quote(str(self._folder))}`."
        return InputError(f"The {which} {what}.", where=str(self._folder), hint=hint)


@contextmanager
def _opened(folder: Path, *, offered: bool, room: Room | None = None) -> Iterator[_Reader]:
    """Raises InputError: also for what is read in this block."""
    top = -1
    try:
        top = os.open(folder.parents[_LEVELS - 1] if offered else folder, _FOLDER)
        for name in folder.parts[-_LEVELS:] if offered else ():
            inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=top)
            os.close(top)
            top = inner
        yield _Reader(folder, top, room or Room(), offered=offered)
    except OSError as error:
        if links := [place for place in (folder, *folder.parents[: _LEVELS - 1]) if offered and place.is_symlink()]:
            message = "A project's snapshots can't be behind a link."
            raise InputError(message, where=str(links[-1]), hint="Put the folder itself there.") from error
        where = str(folder / error.filename) if isinstance(error.filename, str) else str(folder)
        raise InputError(f"The snapshot can't be read: {error.strerror}.", where=where) from error
    finally:
        if top >= 0:
            os.close(top)


def _raise(error: OSError) -> None:
    raise error
