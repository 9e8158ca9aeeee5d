"""Evaluation: which required output files are missing (contract §3.16: missing or empty)."""

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from runbook_runner.core.declared import RequiredOutput

_PIECES = re.compile(r"\*+|\?|[^*?]+")
_PLACEHOLDER = re.compile(r"<[^<>/]*>|\{[^{}/]*\}")


def missing_outputs(results: Path, required: Iterable[RequiredOutput]) -> tuple[str, ...]:
    """The required paths without a non-empty file in the results folder, in manifest order."""
    return tuple(output.path for output in required if not _is_there(results, output.path))


def _is_there(results: Path, path: str) -> bool:
    pattern = _PLACEHOLDER.sub("*", path).strip()
    parts = PurePosixPath(pattern).parts
    if not parts or ".." in parts or pattern.startswith("/"):
        return False
    if "*" not in pattern and "?" not in pattern:
        return _has_content(results / pattern)
    names = _expression(parts)
    return any(names.fullmatch(str(found.relative_to(results))) and _has_content(found) for found in results.rglob("*"))


def _expression(parts: tuple[str, ...]) -> re.Pattern[str]:
    """`*` and `?` match within one name; a part that is `**` matches any number of folders."""
    folders = "".join("(?:[^/]+/)*" if part == "**" else _part(part) + "/" for part in parts[:-1])
    return re.compile(folders + _part(parts[-1]), re.DOTALL)


def _part(part: str) -> str:
    wild = {"*": "[^/]*", "?": "[^/]"}
    return "".join(wild.get(piece[0]) or re.escape(piece) for piece in _PIECES.findall(part))


def _has_content(path: Path) -> bool:
    try:
        if path.is_dir():
            return any(child.is_file() for child in path.rglob("*"))
        return path.is_file() and path.stat().st_size > 0
    except OSError:  # a name that is too long for any file
        return False
