"""Evaluation: which required output files are missing or empty (contract §3.16)."""

import os.path
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal

from runbook_runner.core.declared import RequiredOutput

Lack = Literal["missing", "empty", "elsewhere"]

_STARS = re.compile(r"\*+")
_MOST_TESTS = 4_000_000
"""Of a name against a pattern: a runbook and its results may be made to have many. The rest is missing."""
_PLACEHOLDER = re.compile(r"<[^<>/]*>|\{[^{}/]*\}")


def lacking_outputs(results: Path, required: Iterable[RequiredOutput]) -> Mapping[str, Lack]:
    """The required paths without a non-empty file in the results folder, in manifest order."""
    found = _Found(results)
    lacks = {output.path: "elsewhere" if output.is_elsewhere else _lack(found, output.path) for output in required}
    return {path: lack for path, lack in lacks.items() if lack}


class _Found:
    """What is in the results folder."""

    def __init__(self, results: Path):
        self.results = results
        self._left = _MOST_TESTS

    @cached_property
    def _all(self) -> list[tuple[Path, tuple[str, ...]]]:
        return [(path, path.relative_to(self.results).parts) for path in self.results.rglob("*")]

    @cached_property
    def folders_with_files(self) -> set[Path]:
        return {folder for path, _ in self._all if path.is_file() for folder in path.parents}

    def fitting(self, tests: Sequence[re.Pattern[str] | None]) -> Iterator[Path]:
        for path, names in self._all:
            self._left -= 1
            if self._left < 0:
                return
            if _fits(names, tests):
                yield path


def _lack(there: _Found, path: str) -> Lack | None:
    """`None` when something that matches the path has content."""
    lack: Lack = "missing"
    for found in _matches(there, path):
        if _has_content(there, found):
            return None
        lack = "empty"
    return lack


def _matches(there: _Found, path: str) -> Iterator[Path]:
    pattern = _PLACEHOLDER.sub("*", path).strip()
    parts = PurePosixPath(pattern).parts
    if not parts or ".." in parts or pattern.startswith("/"):
        return
    if "*" in pattern or "?" in pattern:
        tests = [None if part == "**" else _expression(part) for part in parts[:-1]] + [_expression(parts[-1])]
        yield from there.fitting(tests)
    elif os.path.exists(there.results / pattern):  # noqa: PTH110 - it does not raise for a name that no file can have
        yield there.results / pattern


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


def _has_content(there: _Found, path: Path) -> bool:
    if path.is_dir():
        return path in there.folders_with_files
    return path.is_file() and path.stat().st_size > 0
