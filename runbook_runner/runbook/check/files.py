"""Room `runbook`, `check`: which files the arguments mean: files, folders, globs."""

import os
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from runbook_runner.core.disk.walk import walk
from runbook_runner.core.errors import InputError
from runbook_runner.core.files import is_file, is_folder
from runbook_runner.core.settings import RUNBOOK_FILE

_SUFFIX = ".runbook.md"
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
        hint = f"Give a file, or a folder that holds a {RUNBOOK_FILE}."
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
    """As the module `glob`, which goes through links: what is behind them may be elsewhere, or above them."""
    whole = Path(pattern).parts
    fixed = next(n for n, part in enumerate(whole) if any(mark in part for mark in "*?["))
    top, parts = Path(*whole[:fixed]), whole[fixed:]

    def reached(entry: "os.DirEntry[str]") -> set[int]:
        return _reached(Path(entry.path).parts[fixed:], parts)

    def enters(entry: "os.DirEntry[str]") -> bool:
        return entry.name not in _SKIPPED and any(n < len(parts) for n in reached(entry))

    found = (entry for entry in walk(top, enters=enters) if len(parts) in reached(entry))
    hits = sorted(entry.path for entry in found if not (entry.is_symlink() and is_folder(entry.path)))
    if not hits:
        raise InputError("No file fits.", where=pattern)
    return [file for hit in hits for file in (_below(hit) if is_folder(hit) else [os.path.normpath(hit)])]


def _reached(names: Sequence[str], parts: Sequence[str]) -> set[int]:
    """How many parts of a pattern these names may stand for; `**` is any number of folders."""
    reached = _skipped({0}, parts)
    for name in names:
        passed = {n for n in reached if n < len(parts) and _fits(name, parts[n])}
        reached = _skipped({n if parts[n] == "**" else n + 1 for n in passed}, parts)
    return reached


def _skipped(reached: set[int], parts: Sequence[str]) -> set[int]:
    for n, part in enumerate(parts):
        if n in reached and part == "**":
            reached.add(n + 1)
    return reached


def _fits(name: str, part: str) -> bool:
    return fnmatchcase(name, part) and (part.startswith(".") or not name.startswith("."))


def _below(folder: str) -> Iterator[str]:
    """In order of names, without recursion: a tree may be deeper than Python's stack."""
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        entries = sorted(_entries(here), key=lambda entry: entry.name)
        if here != folder and any(entry.name == _TRAJECTORY for entry in entries):
            continue
        for entry in entries:
            if (entry.name == RUNBOOK_FILE or entry.name.endswith(_SUFFIX)) and is_file(entry.path):
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
