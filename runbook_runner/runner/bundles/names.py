"""Runner, bundles: how large a bundle may be, and how its files may be called."""

import os
from collections.abc import Iterable
from itertools import takewhile
from typing import Final

from runbook_runner.core.disk.repository_files import repository_in
from runbook_runner.core.disk.walk import MOST_LEVELS
from runbook_runner.core.errors import InputError
from runbook_runner.core.text import counted
from runbook_runner.runner.request.input_zips import Bounds
from runbook_runner.trajectory.imports.folder import MOST_FILE_BYTES, MOST_FILES

BOUNDS: Final = Bounds(MOST_FILES, MOST_FILE_BYTES, "A bundle holds one run.")
_MOST_ENTRIES: Final = 100_000
"""Files, and the folders that they need."""
_MOST_NAME, _MOST_PATH, _MOST_PLAIN = 255, 4000, 900


def is_plain(path: str) -> bool:
    """Whether every reader of zips reads this name as we do."""
    return path.isprintable() and "\\" not in path and ":" not in path and len(os.fsencode(path)) <= _MOST_PLAIN


def require_path(path: str, where: str) -> None:
    """Raises InputError for a path that leads out of the trajectory folder, or can't be."""
    parts = path.split("/")
    try:
        sizes = [len(os.fsencode(part)) for part in parts]
    except UnicodeEncodeError:
        sizes = [_MOST_PATH]
    wrong = any(part in ("", ".", "..") for part in parts) or "\0" in path or parts[0].startswith(".")
    if wrong or repository_in(parts) or max(sizes) > _MOST_NAME or sum(sizes) > _MOST_PATH or len(parts) > MOST_LEVELS:
        raise InputError(f"A file in a bundle can't be {path[:200]!a}.", where=where)


def require_entries(paths: Iterable[str], where: str) -> None:
    """Raises InputError when these files need too many folders: each path may need hundreds."""
    if (entries := _entries(paths)) > _MOST_ENTRIES:
        message = f"This run has {counted(entries, 'file')} and folders; a zip of a run can have {_MOST_ENTRIES:,}."
        raise InputError(message, where=where)


def _entries(paths: Iterable[str]) -> int:
    """How many files and folders there are when these files are written."""
    count, before = 0, list[str]()
    for path in sorted(paths, key=lambda path: path.replace("/", "\0")):  # what is below one folder stands together
        folders = path.split("/")[:-1]
        common = sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(folders, before, strict=False)))
        count += 1 + len(folders) - common
        before = folders
    return count
