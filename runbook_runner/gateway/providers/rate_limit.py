"""Gateway: how fast a provider may be asked: one queue per key, for all runs of this process.

No CLI can do this alone: each sees only its own calls.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from runbook_runner.core import settings
from runbook_runner.core.errors import InputError

LONGEST_WAIT_S: Final = 60.0  # a provider that wants more than this is out of service: better to tell the agent


@dataclass(frozen=True)
class Pace:
    """How much at once, and how often."""

    parallel: int = settings.DEFAULT_PARALLEL_CALLS
    per_minute: float | None = None


def pace_from(environ: Mapping[str, str]) -> Pace:
    """Raises InputError for what is no number."""
    parallel = _number(environ, settings.PARALLEL_CALLS_VARIABLE)
    per_minute = _number(environ, settings.CALLS_PER_MINUTE_VARIABLE)
    return Pace(int(parallel) if parallel else Pace.parallel, per_minute)


def _number(environ: Mapping[str, str], name: str) -> float | None:
    text = environ.get(name, "").strip()
    if not text:
        return None
    with suppress(ValueError):
        if float(text) >= 1:
            return float(text)
    raise InputError(f"{name} is {text!r}.", hint="Give a number of at least 1, or unset it.")


class _Place:
    """One caller's place in the queue."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._called = asyncio.Event()

    def call(self) -> None:
        with suppress(RuntimeError):  # its loop has ended, and it with it
            self._loop.call_soon_threadsafe(self._called.set)

    async def wait(self, seconds: float | None) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._called.wait(), seconds)
        self._called.clear()


class Throttle:
    """First come, first served. Used from many event loops."""

    def __init__(self, pace: Pace):
        self.pace = pace
        self._lock = threading.Lock()
        self._queue: list[_Place] = []
        self._running = 0
        self._next_at = 0.0
        """When the bucket, which holds one call, is full again."""
        self._paused_until = 0.0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[float]:
        """Waits until one more call may be made; gives back the seconds that took."""
        began = time.monotonic()
        await self._admitted()
        try:
            yield time.monotonic() - began
        finally:
            with self._lock:
                self._running -= 1
                self._call_first()

    def pause(self, seconds: float) -> None:
        """The provider asked for it."""
        with self._lock:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    @property
    def paused_s(self) -> float:
        return max(0.0, self._paused_until - time.monotonic())

    async def _admitted(self) -> None:
        place = _Place()
        with self._lock:
            self._queue.append(place)
        try:
            while not self._admits(place):
                await place.wait(self._seconds(place))
        except BaseException:
            with self._lock:
                if place in self._queue:
                    self._queue.remove(place)
                else:
                    self._running -= 1
                self._call_first()
            raise

    def _admits(self, place: _Place) -> bool:
        with self._lock:
            now = time.monotonic()
            full = self._running >= self.pace.parallel
            if self._queue[0] is not place or full or now < max(self._next_at, self._paused_until):
                return False
            self._queue.pop(0)
            self._running += 1
            self._next_at = now + (60.0 / self.pace.per_minute if self.pace.per_minute else 0.0)
            self._call_first()
            return True

    def _seconds(self, place: _Place) -> float | None:
        """Until it is worth trying again; `None`: somebody will call."""
        with self._lock:
            if self._queue[0] is not place or self._running >= self.pace.parallel:
                return None
            return max(0.001, max(self._next_at, self._paused_until) - time.monotonic())

    def _call_first(self) -> None:
        if self._queue:
            self._queue[0].call()


_THROTTLES: Final[dict[tuple[str, ...], Throttle]] = {}
_LOCK: Final = threading.Lock()


def throttle_for(*key: str, pace: Pace) -> Throttle:
    """The one for this provider and key in this process; the last pace given holds."""
    with _LOCK:
        throttle = _THROTTLES.setdefault(key, Throttle(pace))
        throttle.pace = pace
        return throttle
