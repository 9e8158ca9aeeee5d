"""Core, disk: what is below a folder that others may have filled."""

import os
from collections.abc import Callable, Iterator
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Final

from runbook_runner.core.errors import InputError
from runbook_runner.core.text import counted

MOST_LEVELS: Final = 200
"""Folders in each other."""
MOST_ENTRIES: Final = 200_000
"""Files, folders and links."""
MOST_RECORDED: Final = 1 << 21
"""The same, of a run's folder: its results may have half as many."""


def walk(
    top: Path, *, enters: Callable[["os.DirEntry[str]"], bool] | None = None, most: int = MOST_ENTRIES
) -> Iterator["os.DirEntry[str]"]:
    """Yields what is below a folder: each folder before what is in it, by name; nothing when there is no such folder.
    Follows no link but `top` itself. enters: whether a folder below it is entered; `None`: each is. Raises InputError
    when there is more than MOST_LEVELS or `most`, and for a folder that can't be read."""
    left, levels = most, [_listed(top, most)]
    while levels:
        if not levels[-1]:
            levels.pop()
            continue
        entry = levels[-1].pop()
        if (left := left - 1) < 0:
            raise InputError(f"There are more than {counted(most, 'file')} and folders in it.", where=str(top))
        yield entry
        if entry.is_dir(follow_symlinks=False) and (enters is None or enters(entry)):
            if len(levels) > MOST_LEVELS:
                raise InputError(f"There are more than {MOST_LEVELS} folders in each other.", where=str(top))
            levels.append(_listed(Path(entry.path), left))


def _listed(folder: Path, most: int) -> list["os.DirEntry[str]"]:
    """Returns what is in it, the first by name last; of more than `most`, one more than that."""
    try:
        with os.scandir(folder) as entries:
            return sorted(islice(entries, most + 1), key=attrgetter("name"), reverse=True)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InputError(f"This folder can't be read: {error.strerror}.", where=str(folder)) from error


def files_below(top: Path, *, most: int = MOST_ENTRIES) -> list[Path]:
    """The regular files, in order of `walk`. Raises as `walk`."""
    return [Path(entry.path) for entry in walk(top, most=most) if entry.is_file(follow_symlinks=False)]
