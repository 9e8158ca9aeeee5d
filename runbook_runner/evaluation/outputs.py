"""Evaluation: which required output files are missing or empty (contract §3.16)."""

import os.path
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Literal

from runbook_runner.core.declared import RequiredOutput

Lack = Literal["missing", "empty"]

_PIECES = re.compile(r"\*+|\?|[^*?]+")
_PLACEHOLDER = re.compile(r"<[^<>/]*>|\{[^{}/]*\}")


def lacking_outputs(results: Path, required: Iterable[RequiredOutput]) -> Mapping[str, Lack]:
    """The required paths without a non-empty file in the results folder, in manifest order."""
    lacks = {output.path: _lack(results, output.path) for output in required}
    return {path: lack for path, lack in lacks.items() if lack}


def _lack(results: Path, path: str) -> Lack | None:
    """`None` when something that matches the path has content."""
    lack: Lack = "missing"
    for found in _matches(results, path):
        if _has_content(found):
            return None
        lack = "empty"
    return lack


def _matches(results: Path, path: str) -> Iterator[Path]:
    pattern = _PLACEHOLDER.sub("*", path).strip()
    parts = PurePosixPath(pattern).parts
    if not parts or ".." in parts or pattern.startswith("/"):
        return
    if "*" in pattern or "?" in pattern:
        names = _expression(parts)
        yield from (found for found in results.rglob("*") if names.fullmatch(str(found.relative_to(results))))
    elif os.path.exists(results / pattern):  # noqa: PTH110 - it does not raise for a name that no file can have
        yield results / pattern


def _expression(parts: tuple[str, ...]) -> re.Pattern[str]:
    """`*` and `?` match within one name; a part that is `**` matches any number of folders."""
    folders = "".join("(?:[^/]+/)*" if part == "**" else _part(part) + "/" for part in parts[:-1])
    return re.compile(folders + _part(parts[-1]), re.DOTALL)


def _part(part: str) -> str:
    wild = {"*": "[^/]*", "?": "[^/]"}
    return "".join(wild.get(piece[0]) or re.escape(piece) for piece in _PIECES.findall(part))


def _has_content(path: Path) -> bool:
    if path.is_dir():
        return any(child.is_file() for child in path.rglob("*"))
    return path.is_file() and path.stat().st_size > 0
