"""Sandbox: how much a sandbox has on disk, where the file system does not limit it.

What runs in it may move files from where is not yet measured to where was measured already, so it stands still
meanwhile. That is a hindrance, so it is measured only when it could be over its limit: when the disk, which is asked
each second, has filled up by what was still free of the limit.
"""

import os
import stat
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from runbook_runner.core.errors import RunbookError
from runbook_runner.sandbox.base import LimitHit

ENTRY = 4096  # bytes that a file counts at least: a disk runs out of entries too
_DEEPEST = 250  # folders; each takes a descriptor while what is below it is measured
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SHARE = 5  # a sandbox stands still for at most one part in so many of the time, while others fill the disk
_UNMEASURED = (1 << 30, 4 << 30)  # bytes beyond the limit by which the disk may fill up while it can't be measured
_AGAIN = 2  # how often it is tried before that counts
_PATIENCE = 3  # how often it may not be measured on a disk that can't be asked
_UNSEEN_S = 5.0  # between two measurings of a disk that can't be asked
_ANYWAY_S = 60.0  # of one that can: what others remove in the second in which the sandbox writes as much hides that
_ANYWAY_SHARE = 100


class DiskUse:
    """Returns the limit that a sandbox has hit, `None` while there is none."""

    def __init__(
        self,
        limit_bytes: int,
        taken: Callable[[], int | None],
        still: Callable[[], AbstractContextManager[object]],
        measure: Callable[[], int],
        least: Callable[[], int],
    ):
        """taken: returns what all have on the disk, as `taken_on`; `None` when that can't be known. still: a context in
        which nothing in the sandbox runs, for seconds. measure: returns bytes, in that context. least: the same beside
        what runs, and no more than is there. All raise OSError or RunbookError when they can't."""
        self._limit = limit_bytes
        self._taken, self._still, self._measure, self._least = taken, still, measure, least
        self._before: int | None = None
        """What was taken when it was measured, or less, when others have removed something since."""
        self.used = 0
        """Bytes, when last measured."""
        self._ended = time.monotonic()
        self._cost_s = 0.0
        self._failed = 0
        """How often it could not be measured since."""

    def begin(self) -> None:
        """To be called before anything runs in the sandbox."""
        self._before = self._taken()

    def __call__(self) -> LimitHit | None:
        """Raises OSError and RunbookError when nothing can be known now."""
        grown = self._grown()
        if self._is_due(grown):
            if self._seen() > self._limit:
                return LimitHit("disk", f"It wrote more than {self._limit >> 20} MB to disk.")
            grown = self._grown()
        return self._unmeasured(grown) if self._failed else None

    def _grown(self) -> int | None:
        """Returns by how much the disk has filled up since it was measured, whoever did it."""
        now = self._taken()
        if now is None or self._before is None:
            return None
        self._before = min(self._before, now)
        return now - self._before

    def _is_due(self, grown: int | None) -> bool:
        since = time.monotonic() - self._ended
        rest_s = self._cost_s * _SHARE * max(1, self._failed)
        if grown is None:
            return since >= max(_UNSEEN_S, rest_s)
        if since >= max(_ANYWAY_S, self._cost_s * _ANYWAY_SHARE):
            return True
        free = self._limit - self.used
        return grown >= free and (since >= rest_s or (self._failed < _AGAIN and grown >= free + self._limit))

    def _seen(self) -> int:
        """Returns the bytes that it has; when it can't be measured no more than that."""
        began = time.monotonic()
        try:
            with self._still():
                before, self.used = self._taken(), self._measure()
                self._before, self._failed = before, 0
        except (OSError, RunbookError):
            self._failed += 1
        self._cost_s = time.monotonic() - began
        try:
            return self._least() if self._failed else self.used
        except (OSError, RunbookError):
            return 0
        finally:
            self._ended = time.monotonic()

    def _unmeasured(self, grown: int | None) -> LimitHit | None:
        """What keeps a sandbox from being measured may be what runs in it, or a disk that others use."""
        if grown is None and self._failed >= _PATIENCE:
            return LimitHit("disk", f"What it wrote to disk could not be measured {self._failed} times in a row.")
        more = min(max(2 * self._limit, _UNMEASURED[0]), _UNMEASURED[1])
        if grown is not None and self._failed >= _AGAIN and self.used + grown > self._limit + more:
            message = f"The disk lost {grown >> 20} MB while what it wrote could not be measured."
            return LimitHit("disk", message)
        return None


def taken_on(disk: str | Path) -> int:
    """Returns the bytes in use on the disk of a folder, and `ENTRY` for each file. Raises OSError."""
    seen = os.statvfs(disk)
    return (seen.f_blocks - seen.f_bfree) * seen.f_frsize + (seen.f_files - seen.f_ffree) * ENTRY


def tree_size(folder: Path) -> int:
    """Returns the bytes that the tree takes on disk. An empty file takes its entry, a second name (hard link) nothing.
    Neither permissions nor long paths hide anything. A tree that is too deep takes more than any limit. Raises
    OSError."""
    top = os.open(folder, _FOLDER)
    try:
        return _size(top, 0, set())
    finally:
        os.close(top)


def _size(folder: int, depth: int, counted: set[tuple[int, int]]) -> int:
    """counted: files with a second name."""
    if depth > _DEEPEST:
        return sys.maxsize
    total = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # removed in this moment, where nothing can be made to stand still
                total += _entry(folder, entry, depth, counted)
    return total


def _entry(folder: int, entry: os.DirEntry[str], depth: int, counted: set[tuple[int, int]]) -> int:
    """Raises OSError."""
    seen = entry.stat(follow_symlinks=False)
    size = max(seen.st_blocks * 512, ENTRY)
    if stat.S_ISDIR(seen.st_mode):
        inner = _opened(folder, entry.name)
        try:
            return size + _size(inner, depth + 1, counted)
        finally:
            os.close(inner)
    if seen.st_nlink > 1:
        if (seen.st_dev, seen.st_ino) in counted:
            return 0
        counted.add((seen.st_dev, seen.st_ino))
    return size


def _opened(folder: int, name: str) -> int:
    """Also opens what its owner, this user, has no permission to read. Raises OSError."""
    try:
        return os.open(name, _FOLDER, dir_fd=folder)
    except PermissionError:
        if sys.platform != "linux":
            raise
    place = os.open(name, os.O_PATH | _FOLDER, dir_fd=folder)
    try:
        path = Path(f"/proc/self/fd/{place}")
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(0o700)
        try:
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        finally:
            path.chmod(mode)
    finally:
        os.close(place)
