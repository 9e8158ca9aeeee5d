"""Core, disk: a lock by which one process at a time does a piece of work that others wait for."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runbook_runner.core.events import Report


@contextmanager
def locked(path: Path, report: Report, work: str) -> Iterator[None]:
    """Holds the lock file in this block. work: what another process that holds it does, `builds IMAGE`. Raises
    OSError."""
    from filelock import FileLock, Timeout  # its import costs more than everything a run does when the image is there

    lock = FileLock(path)
    try:
        held = lock.acquire(blocking=False)
    except Timeout:
        report(f"Waiting for another process, which {work}.")
        held = lock.acquire()
    with held:
        yield
