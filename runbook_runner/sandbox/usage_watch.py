"""Sandbox: watches how much a sandbox has written to disk, or has of memory, where neither the file system nor the
kernel limits it."""

import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from runbook_runner.core.errors import RunbookError
from runbook_runner.sandbox.base import LimitHit

_MIN_PAUSE_S = 1.0
ENTRY = 4096  # bytes that a file counts at least: a disk runs out of entries too
_DEEPEST = 250  # folders; each takes a descriptor while what is below it is measured
_LOOKS = 20  # at a folder in which something was renamed meanwhile
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SHARE = 20  # measuring takes one part in so many of the time
_MAX_PAUSE_S = 10.0  # and more where that is slow, as on a busy machine: what runs may write meanwhile


class UsageWatch:
    """Measures every second, where that is slow every ten; over the limit it ends the writing processes, and
    then what still comes. They may write for so long more."""

    def __init__(self, hit: LimitHit, limit_bytes: int, measure: Callable[[], int], end: Callable[[], None]):
        """hit: what is said then. measure: returns bytes; raises OSError or RunbookError when it can't be measured now.
        end: called from the watching thread, and again until `stop`; may raise RunbookError."""
        self._measure = measure
        self._limit = limit_bytes
        self._end = end
        self._over = threading.Event()
        self._hit = hit
        self._hits: tuple[LimitHit, ...] = ()

    def start(self) -> None:
        threading.Thread(target=self._run, name="usage-watch", daemon=True).start()

    def stop(self) -> None:
        self._over.set()

    def hits(self) -> tuple[LimitHit, ...]:
        return self._hits

    def _run(self) -> None:
        pause = _MIN_PAUSE_S
        while not self._over.wait(pause):
            with suppress(OSError, RunbookError):
                if not self._hits:
                    began = time.monotonic()
                    over = self._measure() > self._limit
                    pause = min(max(_MIN_PAUSE_S, (time.monotonic() - began) * _SHARE), _MAX_PAUSE_S)
                    self._hits = (self._hit,) if over and not self._over.is_set() else ()
                if self._hits:
                    self._end()


def disk_hit(limit_bytes: int) -> LimitHit:
    return LimitHit("disk", f"It wrote more than {limit_bytes >> 20} MB to disk.")


def tree_size(folder: Path) -> int:
    """Returns the bytes that the tree takes on disk. An empty file takes its entry, a second name (hard link) nothing.
    What runs in the tree may hide nothing: neither permissions nor long paths do, and what is renamed is looked for
    again. A tree that is too deep takes more than any limit. Raises OSError."""
    top = os.open(folder, _FOLDER)
    try:
        return _size(top, 0, set())
    finally:
        os.close(top)


def _size(folder: int, depth: int, counted: set[tuple[int, int]]) -> int:
    """counted: files with a second name."""
    if depth > _DEEPEST:
        return sys.maxsize
    total, here = 0, set[int]()
    for _ in range(_LOOKS):
        complete = True
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.inode() in here:
                    continue
                try:
                    total += _entry(folder, entry, depth, counted)
                    here.add(entry.inode())
                except OSError:  # removed or renamed in this moment
                    complete = False
        if complete:
            break
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
