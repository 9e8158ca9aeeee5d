"""Sandboxes without an engine: all of their processes stand still for a moment. Linux only; elsewhere they go on."""

import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress

from runbook_runner.sandbox.disk_use import RestlessError
from runbook_runner.sandbox.held_files import threads

_WITHIN_S = 5.0
_PAUSE_S = 0.002


@contextmanager
def stopped(processes: Callable[[], Iterable[int]], spared: Collection[int]) -> Iterator[None]:
    """processes: yields the ids of those that there are now, parents before their children. spared: of those that go
    on. What was stopped already stays so afterwards. Raises RestlessError when there are always new ones."""
    sent = set[int]()
    try:
        until = time.monotonic() + _WITHIN_S
        while sys.platform == "linux" and _stop(processes(), spared, sent):
            if time.monotonic() > until:
                raise RestlessError("The processes of the sandbox don't stand still.")
            time.sleep(_PAUSE_S)
        yield
    finally:
        for process in processes() if sent else ():
            if process in sent:
                _signal(process, signal.SIGCONT)


def _stop(processes: Iterable[int], spared: Collection[int], sent: set[int]) -> bool:
    """Returns whether one of them has still run. A parent that was sent the signal has no further children, so none
    is missed but one whose parents end; the next look finds it."""
    restless = False
    for process in processes:
        if process not in spared and _runs(process):
            restless = True
            sent.add(process)
            _signal(process, signal.SIGSTOP)
    return restless


def _runs(process: int) -> bool:
    """Whether it has a thread that is not stopped, over, or in a call to the kernel that it can't leave now: that ends
    before it stops, and nothing comes after it."""
    return any(_state(thread) in "RS" for thread in threads(process))


def _state(thread: str) -> str:
    """See proc(5)."""
    try:
        with open(f"{thread}/stat", "rb") as file:  # noqa: PTH123 - twice as fast
            return chr(file.read().rpartition(b")")[2].split()[0][0])
    except (OSError, IndexError):
        return "X"


def _signal(process: int, number: signal.Signals) -> None:
    with suppress(OSError):
        os.kill(process, number)
