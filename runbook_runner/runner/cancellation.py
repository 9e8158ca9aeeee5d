"""Runner: how a run is asked to stop. Once: politely, its work is kept. Twice: at once."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from runbook_runner.core.errors import CancelledError


class Cancellation:
    """Shared by the run and whoever may stop it; every method may be called from any thread or a signal handler."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._stop_work: Callable[[], None] | None = None
        self._abandon: Callable[[], None] | None = None

    @property
    def requested(self) -> bool:
        return self._requested.is_set()

    def request(self) -> bool:
        """Asks the run to stop. False: nothing is running that could be told, so the caller has to break in."""
        self._requested.set()
        if self._stop_work is None:
            return False
        self._stop_work()
        return True

    def abandon(self) -> None:
        """Leaves nothing running; what was recorded stays recorded."""
        if self._abandon:
            self._abandon()

    def check(self) -> None:
        """Raises CancelledError once the run was asked to stop."""
        if self.requested:
            raise CancelledError("The run was cancelled.")

    @contextmanager
    def stops_with(self, stop_work: Callable[[], None]) -> Iterator[None]:
        """While in it, a request calls `stop_work` and the run goes on to collect what is there."""
        self._stop_work = stop_work
        try:
            if self.requested:
                stop_work()
            yield
        finally:
            self._stop_work = None

    @contextmanager
    def abandons_with(self, abandon: Callable[[], None]) -> Iterator[None]:
        self._abandon = abandon
        try:
            yield
        finally:
            self._abandon = None
