"""Runner: how a run is asked to stop: the first request ends it in order, with its results; the second at once."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from runbook_runner.core.errors import CancelledError


class Cancellation:
    """Shared by the run and its caller; every method may be called from any thread or a signal handler."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._stop: Callable[[], None] | None = None
        self._abandon: Callable[[], None] | None = None

    @property
    def requested(self) -> bool:
        return self._requested.is_set()

    def request(self) -> bool:
        """Asks the run to stop. False: no phase listens at the moment, so the caller must interrupt it."""
        self._requested.set()
        if self._stop is None:
            return False
        self._stop()
        return True

    def abandon(self) -> None:
        """Ends the sandbox at once; what was recorded stays recorded."""
        if self._abandon:
            self._abandon()

    def check(self) -> None:
        """Raises CancelledError once the run was asked to stop."""
        if self.requested:
            raise CancelledError("The run was cancelled.")

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
    def abandons_with(self, abandon: Callable[[], None]) -> Iterator[None]:
        self._abandon = abandon
        try:
            yield
        finally:
            self._abandon = None
