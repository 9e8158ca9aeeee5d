"""Runner: how a run is asked to stop: the first request ends it in order, with its results; the second at once.

Most of a run must not be interrupted: its record is opened, its results are collected, its sandbox is removed. There a
request is only noted, and `check` sees it when the phase is over.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from runbook_runner.core.errors import CancelledError

ABANDON_S: Final = 5.0


class Interrupt(BaseException):
    """Leaves an `interruptible` block, and a run whose block has just begun or ended. No handler of errors on its way
    takes it for one."""


class Cancellation:
    """Shared by the run and its caller; every method may be called from any thread or a signal handler."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._stop: Callable[[], None] | None = None
        self._abandon: Callable[[], None] | None = None
        self._interruptible: int | None = None

    @property
    def requested(self) -> bool:
        return self._requested.is_set()

    def request(self) -> None:
        """Asks the run to stop. Called by a signal handler in an `interruptible` block, it ends that block."""
        self._requested.set()
        if self._stop:
            self._stop()
        elif self._interruptible == threading.get_ident():
            self._interruptible = None
            raise Interrupt

    def abandon(self, within: float = ABANDON_S) -> None:
        """Ends the sandbox, in another thread: this one may hold its locks. What was recorded stays recorded, and the
        next start ends what is left. within: seconds to wait for it."""
        if self._abandon:
            ending = threading.Thread(target=self._abandon, name="abandon", daemon=True)
            ending.start()
            ending.join(within)

    def check(self) -> None:
        """Raises CancelledError once the run was asked to stop."""
        if self.requested:
            raise CancelledError("The run was cancelled.")

    def sleep(self, seconds: float) -> None:
        """Raises CancelledError once the run was asked to stop."""
        self._requested.wait(seconds)
        self.check()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A request in this thread ends the block, wherever it is, with CancelledError: for a wait for something that
        can't be told to stop."""
        self.check()
        try:
            self._interruptible = threading.get_ident()
            yield
        except Interrupt:
            self.check()
        finally:
            self._interruptible = None

    @contextmanager
    def stops_with(self, stop: Callable[[], None]) -> Iterator[None]:
        """In this block a request calls `stop`; the run then collects the results that are there."""
        self._stop = stop
        try:
            if self.requested:
                stop()
            yield
        finally:
            self._stop = None

    @contextmanager
    def ends_with(self, stop: Callable[[], None]) -> Iterator[None]:
        """As `stops_with`, and CancelledError ends the block then."""
        with self.stops_with(stop):
            yield
        self.check()

    @contextmanager
    def abandons_with(self, abandon: Callable[[], None]) -> Iterator[None]:
        self._abandon = abandon
        try:
            yield
        finally:
            self._abandon = None
