"""Sandbox: watches how much a sandbox has written to disk, or has of memory, where neither the file system nor the
kernel limits it."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from runbook_runner.core.errors import RunbookError
from runbook_runner.sandbox.base import LimitHit

_MIN_PAUSE_S = 1.0
_ENTRY = 4096  # bytes that a file counts at least: a disk runs out of entries too
_SHARE = 20  # measuring takes at most one part in so many of the time


class UsageWatch:
    """Measures every second or so; over the limit it ends the writing processes, once. They may write for a second
    more."""

    def __init__(self, hit: LimitHit, limit_bytes: int, measure: Callable[[], int], end: Callable[[], None]):
        """hit: what is said then. measure: returns bytes; raises OSError or RunbookError when it can't be measured now.
        end: called from the watching thread."""
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
            began = time.monotonic()
            try:
                used = self._measure()
            except (OSError, RunbookError):
                continue
            pause = max(_MIN_PAUSE_S, (time.monotonic() - began) * _SHARE)
            if used > self._limit and not self._over.is_set():
                self._hits = (self._hit,)
                return self._end()
        return None


def disk_hit(limit_bytes: int) -> LimitHit:
    return LimitHit("disk", f"It wrote more than {limit_bytes >> 20} MB to disk.")


def tree_size(folder: Path) -> int:
    """Returns the bytes that the tree takes on disk. An empty file takes its entry, a second name (hard link) nothing;
    what is removed while it is measured does not count."""
    total, ahead, linked = 0, [str(folder)], set()
    while ahead:
        try:
            with os.scandir(ahead.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        ahead.append(entry.path)
                    with suppress(OSError):
                        seen = entry.stat(follow_symlinks=False)
                        if seen.st_nlink == 1 or seen.st_ino not in linked:
                            total += max(seen.st_blocks * 512, _ENTRY)
                        if seen.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
                            linked.add(seen.st_ino)
        except OSError:
            continue
    return total
