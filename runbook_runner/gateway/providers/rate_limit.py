"""Gateway: limits how fast a provider is called: one queue per key, for all runs of this process.

An agent CLI can't do this: it sees only its own calls.
"""

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from runbook_runner.core import settings
from runbook_runner.core.errors import InputError

LONGEST_WAIT_S: Final = 60.0  # for a longer one the agent gets an error at once
_THROTTLES: "Final[dict[tuple[str, ...], Throttle]]" = {}
"""By provider, address and key."""
_LOCK: Final = threading.Lock()


@dataclass(frozen=True)
class Pace:
    """The limits of one key."""

    parallel: int = settings.DEFAULT_PARALLEL_CALLS
    per_minute: float | None = None


def pace_from(environ: Mapping[str, str]) -> Pace:
    """Raises InputError for a value that is not a number of at least 1."""
    parallel = _number(environ, settings.PARALLEL_CALLS_VARIABLE)
    per_minute = _number(environ, settings.CALLS_PER_MINUTE_VARIABLE)
    return Pace(int(parallel) if parallel else Pace.parallel, per_minute)


def _number(environ: Mapping[str, str], name: str) -> float | None:
    text = environ.get(name, "").strip()
    if not text:
        return None
    with suppress(ValueError):
        if 1 <= float(text) < math.inf:
            return float(text)
    raise InputError(f"{name} is {text!r}.", hint="Give a number of at least 1, or unset it.")


class Throttle:
    """First come, first served. Used on the gateway's event loop only."""

    def __init__(self, pace: Pace):
        self.pace = pace
        self._queue: list[asyncio.Event] = []
        """One for each call that waits, set when the call should check again whether it may start."""
        self._running = 0
        self._next_at = 0.0
        """When the next call may start, by `pace.per_minute`."""
        self._paused_until = 0.0
        self.said: str | None = None
        """The provider's words when it asked for the last pause."""

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[float]:
        """Waits until one more call may be made; yields the seconds that this took."""
        began = _now()
        await self._admitted()
        try:
            yield _now() - began
        finally:
            self._running -= 1
            self._wake_first()

    def pause(self, seconds: float, said: str | None = None) -> None:
        """No call starts for so long: the provider asked for it."""
        self.said = said
        self._paused_until = max(self._paused_until, _now() + seconds)

    @property
    def paused_s(self) -> float:
        return max(0.0, self._paused_until - _now())

    async def _admitted(self) -> None:
        waiting = asyncio.Event()
        self._queue.append(waiting)
        try:
            while (seconds := self._seconds_to_wait(waiting)) != 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(waiting.wait(), seconds)
                waiting.clear()
            self._running += 1
            self._next_at = _now() + (60.0 / self.pace.per_minute if self.pace.per_minute else 0.0)
        finally:
            self._queue.remove(waiting)
            self._wake_first()

    def _seconds_to_wait(self, waiting: asyncio.Event) -> float | None:
        """`None`: until another call ends or leaves the queue."""
        if self._queue[0] is not waiting or self._running >= self.pace.parallel:
            return None
        return max(0.0, max(self._next_at, self._paused_until) - _now())

    def _wake_first(self) -> None:
        if self._queue:
            self._queue[0].set()


def _now() -> float:
    """The event loop's clock, by which it wakes those that wait."""
    return asyncio.get_running_loop().time()


def throttle_for(*key: str, pace: Pace) -> Throttle:
    """Returns the throttle of this provider and key, one for the process; the last pace given holds."""
    with _LOCK:
        throttle = _THROTTLES.setdefault(key, Throttle(pace))
        throttle.pace = pace
        return throttle
