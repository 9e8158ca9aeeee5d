"""Sandbox: watches how much a sandbox has of what neither the file system nor the kernel limits."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from runbook_runner.core.errors import RunbookError
from runbook_runner.sandbox.base import LimitHit

_EVERY_S = 1.0
_SHARE = 20  # measuring takes one part in so many of the time


class UsageWatch:
    """Measures every second; over the limit it ends the writing processes, and then what still comes."""

    def __init__(
        self,
        measure: Callable[[], LimitHit | None],
        end: Callable[[], None],
        *,
        most_pause_s: float = _EVERY_S,
    ):
        """measure: returns `None` while it is within the limit; raises OSError or RunbookError when it can't be
        measured now. end: called from the watching thread, and again until `stop`; may raise RunbookError.
        most_pause_s: where measuring is slow, as on a busy machine, it is done less often: what runs may take more for
        so long."""
        self._measure = measure
        self._end = end
        self._most_pause_s = most_pause_s
        self._over = threading.Event()
        self._hits: tuple[LimitHit, ...] = ()

    def start(self) -> None:
        threading.Thread(target=self._run, name="usage-watch", daemon=True).start()

    def stop(self) -> None:
        self._over.set()

    def hits(self) -> tuple[LimitHit, ...]:
        return self._hits

    def _run(self) -> None:
        pause = _EVERY_S
        while not self._over.wait(pause):
            pause = _EVERY_S
            with suppress(OSError, RunbookError):
                if not self._hits:
                    began = time.monotonic()
                    hit = self._measure()
                    pause = min(max(_EVERY_S, (time.monotonic() - began) * _SHARE), self._most_pause_s)
                    self._hits = (hit,) if hit and not self._over.is_set() else ()
                if self._hits:
                    self._end()
