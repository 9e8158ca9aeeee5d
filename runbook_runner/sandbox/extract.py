"""Sandbox: extracts files from a sandbox into a folder of this machine. All that a sandbox says of them is checked.

Each backend walks its own tree (an archive, a folder) and hands every entry over; names, sizes and counts are checked
here once for all of them.
"""

import errno
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from runbook_runner.core.disk.private import FILE, FOLDER, PROGRAM
from runbook_runner.core.disk.repository_files import IN_REPOSITORY, HeadError, HeadGuard, repository_in
from runbook_runner.core.disk.walk import MOST_RECORDED, walk
from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.files import make_folder, opened_atomically
from runbook_runner.core.text import counted, decoded_name
from runbook_runner.sandbox.base import Readable, Received, ReceivedFile, Stamp, Wanted

MAX_DEPTH = 100  # folders; walking a deeper tree would cost a descriptor for each
_BLOCK = 1 << 20
_MOST_NAMED = 1000
_MOST_PASSED = 1 << 30  # bytes that are read to skip them; a file without content may say it has terabytes
_NO_FURTHER = "what comes after it was not looked at"
_UNNAMEABLE = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)


class FullError(Exception):
    """Nothing more is fetched: the walk may end."""


class _GrownError(Exception):
    """A file has become longer than its header says, and than the limit allows."""


class Extraction:
    """One `get`: takes entries, gives `Received`. Paths are given as their parts below the fetched folder.

    Files that an earlier extraction left in `into` when its process died are replaced one by one.
    """

    def __init__(self, into: Path, sandbox_path: str, wanted: Wanted, *, streamed: bool = False):
        """Makes `into`. streamed: what is skipped is read all the same. Raises NotReadyError when `into` can't be
        written, here and later."""
        try:
            make_folder(into, FOLDER)
        except OSError as error:
            raise _unwritable(into, error) from error
        self._into = into
        self._sandbox_path = sandbox_path
        self._wanted = wanted
        self._below = PurePosixPath(wanted.below).parts
        self._scrub = wanted.scrub
        self._streamed = streamed
        self._passed = 0
        """Bytes of files that were too large."""
        self._bytes = 0
        self._entries = 0
        self._made: set[Path] = set()
        self._earlier = {Path(entry.path) for entry in walk(into, most=MOST_RECORDED) if not entry.is_dir()}
        self._files: dict[str, ReceivedFile] = {}
        self._skipped: list[tuple[str, str]] = []
        self._more_skipped = 0
        self._renamed: dict[str, str] = {}
        """Name in the sandbox → stored name, where the filter gave it another."""
        self._numbers = Counter[str]()
        """Stored name → the last number that was given to another file of that name."""
        self._left_out: set[str] = set()
        """Folders of repositories."""

    def received(self) -> Received:
        return Received(tuple(self._files.values()), tuple(self._skipped), self._more_skipped)

    def folder(self, parts: Sequence[str]) -> bool:
        """Makes a folder. Returns whether it may be entered."""
        parts = (*self._below, *parts)
        self._count(parts)
        if self._in_repository(parts):
            return False
        _, target = self._place(parts, folder=True)
        return target is not None

    def skip(self, parts: Sequence[str], reason: str) -> None:
        parts = (*self._below, *parts)
        self._count(parts)
        self._skip("/".join(parts), reason)

    def file(
        self,
        parts: Sequence[str],
        content: Readable,
        stamp: Stamp,
        *,
        executable: bool = False,
        sandbox_path: str | None = None,
    ) -> None:
        """Stores a regular file. stamp: what its header says; more is never written than the limit allows.
        sandbox_path: set when the fetched path is the file itself."""
        inner, alone = parts, sandbox_path is not None
        parts = self._below if alone and self._below else (*self._below, *parts)
        self._count(parts)
        sandbox_path = sandbox_path or "/".join((self._sandbox_path, *map(decoded_name, inner)))
        if self._wanted.before.get(sandbox_path) == stamp:
            self._skip("/".join(parts), "it was there before the agent started, and has not changed")
            return
        if self._bytes + stamp[0] > self._wanted.max_bytes:
            self._too_large(parts, stamp[0])
            return
        name, target = self._place(parts)
        if target is None:
            return
        try:
            written = self._write(target, self._scrub(name, content) if self._scrub else content, executable)
        except _GrownError:
            self._too_large(parts, 0)
            return
        except HeadError as error:
            self._skip(name, str(error))
            return
        except OSError as error:
            if error.errno not in _UNNAMEABLE:
                raise _unwritable(target, error) from error
            self._skip(name, "its name can't be stored here")
            return
        self._bytes += max(written, stamp[0])
        self._files[name] = ReceivedFile(name, written, sandbox_path, stamp)

    def second_name(self, parts: Sequence[str], original: Sequence[str]) -> None:
        """Stores a hard link as a copy of what is already here; a link to anything else is skipped."""
        there = decoded_name("/".join((*self._below, *original)))
        source = self._files.get(self._renamed.get(there, there))
        if source is None:
            self.skip(parts, "a hard link to something that was not collected")
            return
        path = self._into / source.path
        with path.open("rb") as content:
            self.file(parts, content, source.stamp, executable=os.access(path, os.X_OK))

    def _skip(self, name: str, reason: str) -> None:
        if len(self._skipped) < _MOST_NAMED:
            self._skipped.append((decoded_name(name), reason))
        else:
            self._more_skipped += 1

    def _count(self, parts: Sequence[str]) -> None:
        self._entries += 1
        if self._entries > self._wanted.max_files:
            self._skip("/".join(parts), f"more than {self._wanted.max_files} entries; {_NO_FURTHER}")
            raise FullError

    def _too_large(self, parts: Sequence[str], size: int) -> None:
        """Smaller files may still fit."""
        self._passed += size if self._streamed else 0
        goes_on = self._passed <= _MOST_PASSED
        reason = f"with it they would have more than {counted(self._wanted.max_bytes, 'byte')}"
        self._skip("/".join(parts), reason if goes_on else f"{reason}; {_NO_FURTHER}")
        if not goes_on:
            raise FullError

    def _place(self, parts: Sequence[str], *, folder: bool = False) -> tuple[str, Path | None]:
        """The stored name and where to write it; no place for a name that leaves the folder or is taken."""
        name = original = decoded_name("/".join(parts))
        if not parts or any(part in ("", ".", "..") or "/" in part or "\0" in part for part in parts):
            self._skip(name, "its name leads out of the results")
            return name, None
        if len(parts) > MAX_DEPTH:
            self._skip(name, f"deeper than {MAX_DEPTH} folders")
            return name, None
        if self._in_repository(parts):
            return name, None
        if self._scrub:
            clean = "/".join(self._scrub.name(decoded_name(part)) for part in parts)
            name = clean if folder else self._free(clean, original)
        target = self._into / name
        try:
            for made in (target,) if folder else (target.parent,):
                if made not in self._made:
                    make_folder(made, FOLDER)
                    self._made.add(made)
            taken = not folder and target not in self._earlier and os.path.lexists(target)
        except OSError as error:
            if error.errno not in (*_UNNAMEABLE, errno.EEXIST, errno.ENOTDIR):
                raise _unwritable(target, error) from error
            self._skip(name, "its name can't be stored here")
            return name, None
        if taken:
            # `a` beside `A` where the host does not tell them apart, or `\xff` beside the byte itself.
            self._skip(name, "another file has the same name here")
        return name, None if taken else target

    def _in_repository(self, parts: Sequence[str]) -> bool:
        """Whether this is the folder of a repository, or is in it; each is told once."""
        depth = repository_in(parts)
        name = decoded_name("/".join(parts[:depth]))
        if depth and name not in self._left_out:
            self._left_out.add(name)
            self._skip(name, IN_REPOSITORY)
        return depth > 0

    def _free(self, name: str, original: str) -> str:
        """Returns the name, with a number where another file was renamed to it: none is to be lost."""
        if name == original:
            return name
        free = name
        while free in self._files:
            self._numbers[name] += 1
            free = f"{name}-{self._numbers[name] + 1}"
        self._renamed[original] = free
        return free

    def _write(self, target: Path, content: Readable, executable: bool) -> int:
        written, guard = 0, HeadGuard(target.name)
        # Beside the folder: in it every name may be one of the sandbox's.
        with opened_atomically(target, mode=PROGRAM if executable else FILE, beside=self._into) as out:
            while block := content.read(_BLOCK):
                written += len(block)
                if self._bytes + written > self._wanted.max_bytes:
                    raise _GrownError
                guard.look(block)
                out.write(block)
        self._earlier.discard(target)
        return written


def _unwritable(path: Path, error: OSError) -> NotReadyError:
    free = ""
    with suppress(OSError):
        there = next(folder for folder in path.parents if folder.is_dir())
        free = f"{shutil.disk_usage(there).free >> 20} MB are free on this disk."
    return NotReadyError(f"Can't write {path}: {error.strerror}.", hint=free or None)
