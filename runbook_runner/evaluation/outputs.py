"""Evaluation: which required output files are missing or empty (contract §3.16)."""

import os.path
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from runbook_runner.core.declared import RequiredOutput

Lack = Literal["missing", "empty"]

_STARS = re.compile(r"\*+")
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
        tests = [None if part == "**" else _expression(part) for part in parts[:-1]] + [_expression(parts[-1])]
        yield from (found for found in results.rglob("*") if _fits(found.relative_to(results).parts, tests))
    elif os.path.exists(results / pattern):  # noqa: PTH110 - it does not raise for a name that no file can have
        yield results / pattern


def _fits(names: Iterable[str], tests: Sequence[re.Pattern[str] | None]) -> bool:
    """Whether the tests match the names of a path, one after the other; `None` matches any number of folders. Follows
    all ways at once: a runbook and the names in its results may be made to have many."""
    reached = _skipped({0}, tests)
    for name in names:
        passed = {n for n in reached if n < len(tests) and ((test := tests[n]) is None or test.fullmatch(name))}
        reached = _skipped({n if tests[n] is None else n + 1 for n in passed}, tests)
    return len(tests) in reached


def _skipped(reached: set[int], tests: Sequence[re.Pattern[str] | None]) -> set[int]:
    for n, test in enumerate(tests):
        if n in reached and test is None:
            reached.add(n + 1)
    return reached


def _expression(part: str) -> re.Pattern[str]:
    """`*` and `?` match within one name. What is between two `*` is looked for once, from the left."""
    first, *others = ["".join("." if c == "?" else re.escape(c) for c in piece) for piece in _STARS.split(part)]
    middle = "".join(f"(?>.*?{piece})" for piece in others[:-1])
    return re.compile(first + middle + (f".*{others[-1]}" if others else ""), re.DOTALL)


def _has_content(path: Path) -> bool:
    if path.is_dir():
        return any(child.is_file() for child in path.rglob("*"))
    return path.is_file() and path.stat().st_size > 0
