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

from runbook_runner.core.errors import SandboxError
from runbook_runner.sandbox.base import LimitHit

ENTRY = 4096  # bytes that a file counts at least: a disk runs out of entries too
_DEEPEST = 250  # folders; each takes a descriptor while what is below it is measured
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SHARE = 5  # a sandbox stands still for at most one part in so many of the time, while others fill the disk
_PATIENCE = 3  # how often what runs in the sandbox may keep it from being measured
_UNSEEN_S = 5.0  # between two measurings of a disk that can't be asked
_ANYWAY_S = 60.0  # of one that can: what others remove in the second in which the sandbox writes as much hides that
_ANYWAY_SHARE = 100


class RestlessError(SandboxError):
    """What runs in the sandbox does not stand still."""


class DiskUse:
    """Returns the bytes that a sandbox has on disk, when last measured."""

    def __init__(
        self,
        limit_bytes: int,
        taken: Callable[[], int | None],
        still: Callable[[], AbstractContextManager[object]],
        measure: Callable[[], int],
    ):
        """taken: returns what all have on the disk, as `taken_on`; `None` when that can't be known. still: a context in
        which nothing in the sandbox runs; raises RestlessError when that can't be had. measure: returns bytes. All may
        raise OSError and RunbookError."""
        self._limit = limit_bytes
        self._taken, self._still, self._measure = taken, still, measure
        self._before: int | None = None
        """What was taken when it was measured, or less, when others have removed something since."""
        self._used = 0
        self._ended = time.monotonic()
        self._cost_s = 0.0
        self._restless = 0

    def begin(self) -> None:
        """To be called before anything runs in the sandbox."""
        self._before = self._taken()

    def __call__(self) -> int:
        """Raises OSError and RunbookError when it can't be measured now."""
        if not self._may_be_over():
            return self._used
        began = time.monotonic()
        try:
            with self._still():
                before, self._used = self._taken(), self._measure()
            self._before, self._restless = before, 0
        except RestlessError:
            self._restless += 1
            if self._restless >= _PATIENCE:
                self._used = self._limit + 1
        finally:
            self._ended = time.monotonic()
            self._cost_s = self._ended - began
        return self._used

    def _may_be_over(self) -> bool:
        now, since = self._taken(), time.monotonic() - self._ended
        if now is None or self._before is None:
            return since >= max(_UNSEEN_S, self._cost_s * _SHARE)
        self._before = min(self._before, now)
        if since >= max(_ANYWAY_S, self._cost_s * _ANYWAY_SHARE):
            return True
        grown, free = now - self._before, self._limit - self._used
        return grown >= free and (since >= self._cost_s * _SHARE or grown >= free + self._limit)


def disk_hit(limit_bytes: int) -> LimitHit:
    return LimitHit("disk", f"It wrote more than {limit_bytes >> 20} MB to disk.")


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
