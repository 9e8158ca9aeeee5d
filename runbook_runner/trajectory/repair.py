"""Trajectory: a folder whose run died, put in order so that more can be recorded."""

import os
from collections.abc import Iterator
from pathlib import Path

from runbook_runner.trajectory.recorder import EVENTS_FILE
from runbook_runner.trajectory.store import COLLECTED

_BLOCK = 1 << 16


def repair(folder: Path) -> None:
    """Removes the files that a dead process was still writing, and cuts off the line that it left half written, so
    that more can be appended. Raises OSError."""
    for part in _asides(folder):
        part.unlink(missing_ok=True)
    if not (folder / EVENTS_FILE).exists():
        return
    with (folder / EVENTS_FILE).open("r+b") as log:
        end = log.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - _BLOCK)
            log.seek(start)
            newline = log.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        log.truncate(end)


def _asides(folder: Path) -> Iterator[Path]:
    """Whatever we write has a hidden name until it is whole. What was collected may have hidden files of its own."""
    collected = {folder / place for place in COLLECTED}
    for parent, folders, files in os.walk(folder):
        here = Path(parent)
        folders[:] = [name for name in folders if here / name not in collected]
        yield from (here / name for name in files if name.startswith("."))
