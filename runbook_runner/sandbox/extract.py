"""Sandbox: extracts files from a sandbox into a folder of this machine. All that a sandbox says of them is checked.

Each backend walks its own tree (an archive, a folder) and hands every entry over; names, sizes and counts are checked
here once for all of them.
"""

import errno
import os
import shutil
import unicodedata
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from runbook_runner.core.disk.private import FILE, FOLDER
from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.files import make_folder, opened_atomically
from runbook_runner.core.text import decoded_name
from runbook_runner.sandbox.base import Filter, Readable, Received, ReceivedFile, ResultsTooLargeError

MAX_DEPTH = 100  # folders; walking a deeper tree would cost a descriptor for each
_BLOCK = 1 << 20
_REPOSITORIES = (".git", ".hg", ".jj")
"""Their configuration names programs, which git starts for its user's `git status`, also in a folder above. That is why
git itself lets no clone bring a `.git`."""
_UNNAMEABLE = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)


class Extraction:
    """One `get`: takes entries, gives `Received`. Paths are given as their parts below the fetched folder.

    Files that an earlier extraction left in `into` when its process died are replaced one by one.
    """

    def __init__(self, into: Path, sandbox_path: str, *, max_bytes: int, max_files: int, scrub: Filter | None = None):
        """Makes `into`. Raises NotReadyError when that can't be written, here and later."""
        try:
            make_folder(into, FOLDER)
        except OSError as error:
            raise _unwritable(into, error) from error
        self._into = into
        self._sandbox_path = sandbox_path
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._scrub = scrub
        self._bytes = 0
        self._entries = 0
        self._made: set[Path] = set()
        self._earlier = {path for path in into.rglob("*") if not path.is_dir()}
        self._files: dict[str, ReceivedFile] = {}
        self._skipped: list[tuple[str, str]] = []
        self._renamed: dict[str, str] = {}
        """Name in the sandbox → stored name, where the filter gave it another."""
        self._numbers = Counter[str]()
        """Stored name → the last number that was given to another file of that name."""
        self._left_out: set[str] = set()
        """Folders of repositories."""

    def received(self) -> Received:
        return Received(tuple(self._files.values()), tuple(self._skipped))

    def folder(self, parts: Sequence[str]) -> bool:
        """Counts a folder. Returns whether it may be entered."""
        self._count()
        if self._in_repository(parts):
            return False
        if len(parts) > MAX_DEPTH:
            self._skipped.append((decoded_name("/".join(parts)), f"deeper than {MAX_DEPTH} folders"))
            return False
        return True

    def skip(self, parts: Sequence[str], reason: str) -> None:
        self._count()
        self._skipped.append((decoded_name("/".join(parts)), reason))

    def file(self, parts: Sequence[str], content: Readable, size: int, *, sandbox_path: str | None = None) -> None:
        """Stores a regular file. size: what its header says; more is never written than the limit allows.
        sandbox_path: set when the fetched path is the file itself."""
        self._count()
        self._check_bytes(size)
        name, target = self._place(parts)
        if target is None:
            return
        try:
            written = self._write(target, self._scrub(name, content) if self._scrub else content)
        except OSError as error:
            if error.errno not in _UNNAMEABLE:
                raise _unwritable(target, error) from error
            self._skipped.append((name, "its name can't be stored here"))
            return
        self._bytes += written
        self._files[name] = ReceivedFile(name, written, sandbox_path or f"{self._sandbox_path}/{name}")

    def second_name(self, parts: Sequence[str], original: Sequence[str]) -> None:
        """Stores a hard link as a copy of what is already here; a link to anything else is skipped."""
        there = decoded_name("/".join(original))
        source = self._files.get(self._renamed.get(there, there))
        if source is None:
            self.skip(parts, "a hard link to something outside the results")
            return
        with (self._into / source.path).open("rb") as content:
            self.file(parts, content, source.size)

    def _count(self) -> None:
        self._entries += 1
        if self._entries > self._max_files:
            raise self._too_large(f"more than {self._max_files} entries", "Make fewer files, or pack them into one")

    def _check_bytes(self, size: int) -> None:
        if self._bytes + size > self._max_bytes:
            raise self._too_large(f"more than {self._max_bytes} bytes", "Make them smaller")

    def _too_large(self, what: str, advice: str) -> ResultsTooLargeError:
        error = ResultsTooLargeError(
            f"{self._sandbox_path} holds {what}.",
            hint=f"{advice}, or raise the limit for results. What came before is kept.",
        )
        error.received = self.received()
        return error

    def _place(self, parts: Sequence[str]) -> tuple[str, Path | None]:
        """The stored name and where to write it; no place for a name that leaves the folder or is taken."""
        name = original = decoded_name("/".join(parts))
        if not parts or any(part in ("", ".", "..") or "/" in part or "\0" in part for part in parts):
            self._skipped.append((name, "its name leads out of the results"))
            return name, None
        if len(parts) > MAX_DEPTH:
            self._skipped.append((name, f"deeper than {MAX_DEPTH} folders"))
            return name, None
        if self._in_repository(parts):
            return name, None
        if self._scrub:
            name = self._free("/".join(self._scrub.name(decoded_name(part)) for part in parts), original)
        target = self._into / name
        try:
            if target.parent not in self._made:
                make_folder(target.parent, FOLDER)
                self._made.add(target.parent)
            taken = target not in self._earlier and os.path.lexists(target)
        except OSError as error:
            if error.errno not in (*_UNNAMEABLE, errno.EEXIST, errno.ENOTDIR):
                raise _unwritable(target, error) from error
            self._skipped.append((name, "its name can't be stored here"))
            return name, None
        if taken:
            # `a` beside `A` where the host does not tell them apart, or `\xff` beside the byte itself.
            self._skipped.append((name, "another file has the same name here"))
        return name, None if taken else target

    def _in_repository(self, parts: Sequence[str]) -> bool:
        """Whether this is the folder of a repository, or is in it; each is told once."""
        depth = next((depth for depth, part in enumerate(parts, start=1) if _plain(part) in _REPOSITORIES), 0)
        name = decoded_name("/".join(parts[:depth]))
        if depth and name not in self._left_out:
            self._left_out.add(name)
            self._skipped.append(
                (name, "its configuration could name programs of this machine; pack it into an archive")
            )
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

    def _write(self, target: Path, content: Readable) -> int:
        written = 0
        # Beside the folder: in it every name may be one of the sandbox's.
        with opened_atomically(target, mode=FILE, beside=self._into) as out:
            while block := content.read(_BLOCK):
                written += len(block)
                self._check_bytes(written)
                out.write(block)
        self._earlier.discard(target)
        return written


def _plain(name: str) -> str:
    """As file systems compare it that tell no capital letters apart, and ignore what is not shown."""
    return "".join(letter for letter in name if unicodedata.category(letter) != "Cf").casefold()


def _unwritable(path: Path, error: OSError) -> NotReadyError:
    free = ""
    with suppress(OSError):
        there = next(folder for folder in path.parents if folder.is_dir())
        free = f"{shutil.disk_usage(there).free >> 20} MB are free on this disk."
    return NotReadyError(f"Can't write {path}: {error.strerror}.", hint=free or None)
