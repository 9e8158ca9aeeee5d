"""Trajectory, export: the results of a run that are text, read within bounds. They are data of a hostile agent."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import Artifact
from runbook_runner.core.text import counted
from runbook_runner.trajectory.folders import RESULTS
from runbook_runner.trajectory.imports.places import inner_path

_MOST_BYTES: Final = 64 << 10
"""Of one file."""
_MOST_FILES: Final = 30
_MOST_TOGETHER: Final = 1 << 20


class Shown(NamedTuple):
    file: Artifact
    text: str | None
    """`None`: it is not text, is gone, or has no room."""


def texts_of(folder: Path | None, files: Iterable[Artifact]) -> Iterator[Shown]:
    """folder: of the trajectory, without links; `None`: the files are not at hand."""
    left, count = _MOST_TOGETHER, 0
    for file in files:
        text = _text(folder, file) if folder and count < _MOST_FILES and left > 0 else None
        if text is not None:
            left -= len(text)
            count += 1
        yield Shown(file, text)


def _text(folder: Path, file: Artifact) -> str | None:
    if not file.path.startswith(f"{RESULTS}/"):
        return None
    try:
        with open_regular(folder / inner_path(file.path)) as content:
            raw = content.read(_MOST_BYTES + 1)
            size = content.seek(0, 2)
    except (OSError, InputError, ValueError):
        return None
    if b"\0" in raw:
        return None
    kept = raw[:_MOST_BYTES]
    try:
        text = kept.decode()
    except UnicodeDecodeError as error:
        if len(raw) <= _MOST_BYTES or error.start < len(kept) - 4:
            return None
        text = kept[: error.start].decode()
    return f"{text}\n… {counted(size - len(kept), 'more byte')}" if size > len(kept) else text
