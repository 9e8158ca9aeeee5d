"""Runner, bundles: how large a bundle may be, and how its files may be called."""

import os
from typing import Final

from runbook_runner.core.disk.repository_files import repository_in
from runbook_runner.core.disk.walk import MOST_LEVELS
from runbook_runner.core.errors import InputError
from runbook_runner.runner.request.input_zips import Bounds
from runbook_runner.trajectory.imports.folder import MOST_FILE_BYTES, MOST_FILES

BOUNDS: Final = Bounds(MOST_FILES, MOST_FILE_BYTES, "A bundle holds one run.")
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
