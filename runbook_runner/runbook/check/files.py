"""Room `runbook`, `check`: which files the arguments mean: files, folders, globs."""

import os
import re
from collections.abc import Iterable, Iterator
from glob import glob
from pathlib import Path

from runbook_runner.core.errors import InputError
from runbook_runner.core.files import is_file, is_folder

_NAME, _SUFFIX = "RUNBOOK.md", ".runbook.md"
_TRAJECTORY = "events.jsonl"  # a recorded run's folder holds what was asked and what came out: no source
_SKIPPED = frozenset({"node_modules", "__pycache__"})


def files(paths: Iterable[str]) -> tuple[str, ...]:
    """Each once, in the order of the arguments; of a folder all `RUNBOOK.md` and `*.runbook.md` below it, but nothing
    in folders that begin with a dot, in `node_modules`, in recorded runs or behind links. `-` stays.

    Raises InputError for an argument that means nothing, or when there is no runbook at all.
    """
    found: dict[str, None] = {}
    for path in paths:
        found.update(dict.fromkeys(_meant(path)))
    if not found:
        hint = f"Give a file, or a folder that holds a {_NAME}."
        raise InputError("There is no runbook here.", where=", ".join(paths), hint=hint)
    return tuple(found)


def _meant(path: str) -> Iterable[str]:
    if path == "-":
        return [path]
    if is_folder(path):
        return _below(path)
    if os.path.lexists(path):
        return [os.path.normpath(path)]
    if any(mark in path for mark in "*?["):
        return _globbed(path)
    raise InputError("There is no such file or folder.", where=path)


def _globbed(pattern: str) -> list[str]:
    hits = sorted(glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob refuses an absolute pattern
    if not hits:
        raise InputError("No file fits.", where=pattern)
    # A link to a folder is not gone through: what is behind it may be elsewhere.
    top = os.path.realpath(re.split(r"(?<![^/])[^/*?\[]*+[*?\[]", pattern, maxsplit=1)[0] or ".")
    hits = [hit for hit in hits if Path(os.path.realpath(Path(hit).parent)).is_relative_to(top)]
    return [file for hit in hits for file in (_below(hit) if is_folder(hit) else [os.path.normpath(hit)])]


def _below(folder: str) -> Iterator[str]:
    """In order of names, without recursion: a tree may be deeper than Python's stack."""
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        entries = sorted(_entries(here), key=lambda entry: entry.name)
        if here != folder and any(entry.name == _TRAJECTORY for entry in entries):
            continue
        for entry in entries:
            if (entry.name == _NAME or entry.name.endswith(_SUFFIX)) and is_file(entry.path):
                yield os.path.normpath(entry.path)
        inner = [e.path for e in entries if not _is_skipped(e.name) and e.is_dir(follow_symlinks=False)]
        waiting += reversed(inner)


def _entries(folder: str) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise InputError(f"The folder can't be read: {error.strerror}.", where=folder) from error


def _is_skipped(name: str) -> bool:
    return name.startswith(".") or name in _SKIPPED
