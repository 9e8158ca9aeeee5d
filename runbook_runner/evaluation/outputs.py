"""Evaluation: what there is of the required output files (contract §3.16)."""

import os.path
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Literal

from runbook_runner.core.declared import RequiredOutput
from runbook_runner.core.disk.walk import MOST_RECORDED, walk
from runbook_runner.core.events import OutputFound

_STARS = re.compile(r"\*+")
_MOST_WORK = 5_000_000
"""Tests of one name against one part of a pattern: a runbook and its results may be made to need many. The rest is
missing."""
_WORK_OF_READING = 10
"""What each character of a pattern counts for, as it is compiled."""
_MOST_PARTS = 256
"""Of a pattern; a longer one matches nothing, as no result is so deep."""
_PLACEHOLDER = re.compile(r"<[^<>/]*>|\{[^{}/]*\}")


def found_outputs(results: "ResultsFolder", required: Iterable[RequiredOutput]) -> tuple[OutputFound, ...]:
    """What there is of each required path, in manifest order."""
    return tuple(_found(results, output) for output in required)


class ResultsFolder:
    """The collected results: what is in them, looked at once."""

    def __init__(self, root: Path):
        self.root = root
        self._left = _MOST_WORK

    @property
    def is_exhausted(self) -> bool:
        """The patterns so far have needed more work than is done: what else they match is not known."""
        return self._left < 0

    def matching(self, path: str) -> Iterator[Path]:
        """Yields the files and folders that a path or a pattern below the results names."""
        pattern = _PLACEHOLDER.sub("*", path).strip()
        parts = PurePosixPath(pattern).parts
        if not parts or ".." in parts or pattern.startswith("/"):
            return
        if "*" in pattern or "?" in pattern:
            *folders, last = parts
            pairs = zip(("", *folders), folders, strict=False)
            yield from self._fitting([part for before, part in pairs if (before, part) != ("**", "**")], last)
        elif os.path.exists(self.root / pattern):  # noqa: PTH110 - it does not raise for a name that no file can have
            yield self.root / pattern

    def files_in(self, path: Path) -> tuple[int, int]:
        """How many files with content a file or folder is or has, and their bytes."""
        return self._contents.get(path, (0, 0))

    def has(self, path: str) -> bool:
        """Whether a path below the results, which may have `..` in it, is the name of one of them or of the folder."""
        inner = posixpath.normpath(path)
        return inner == "." or inner in self._names

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset("/".join(names) for _, names in self._all)

    @cached_property
    def _all(self) -> list[tuple[Path, tuple[str, ...]]]:
        return [(path, path.relative_to(self.root).parts) for path in self._paths()]

    def _paths(self) -> Iterator[Path]:
        return (Path(entry.path) for entry in walk(self.root, most=MOST_RECORDED))

    @cached_property
    def _contents(self) -> Mapping[Path, tuple[int, int]]:
        found: dict[Path, tuple[int, int]] = {}
        for path, names in self._all:
            size = path.stat().st_size if path.is_file() else 0
            for place in (path, *islice(path.parents, len(names))) if size else ():
                files, total = found.get(place, (0, 0))
                found[place] = files + 1, total + size
        return found

    def _fitting(self, folders: Sequence[str], last: str) -> Iterator[Path]:
        self._left -= _WORK_OF_READING * (sum(map(len, folders)) + len(last))
        if self.is_exhausted or len(folders) >= _MOST_PARTS:
            return
        tests = [*(None if part == "**" else _expression(part) for part in folders), _expression(last)]
        for path, names in self._all:
            fits = self._fits(names, tests)
            if self.is_exhausted:
                return
            if fits:
                yield path

    def _fits(self, names: Iterable[str], tests: Sequence[re.Pattern[str] | None]) -> bool:
        """Whether the tests match the names of a path, one after the other; `None` matches any number of folders.
        Follows all ways at once: a runbook and the names in its results may be made to have many."""
        reached = _skipped({0}, tests)
        for name in names:
            self._left -= len(reached)
            passed = {n for n in reached if n < len(tests) and ((test := tests[n]) is None or test.fullmatch(name))}
            reached = _skipped({n if tests[n] is None else n + 1 for n in passed}, tests)
            if not reached:
                return False
        return len(tests) in reached


def _found(results: ResultsFolder, output: RequiredOutput) -> OutputFound:
    if output.is_elsewhere:
        return OutputFound(path=output.path, lack="elsewhere")
    matches = dict.fromkeys(results.matching(output.path))
    contents = [results.files_in(match) for match in matches if not any(parent in matches for parent in match.parents)]
    files, size = sum(count for count, _ in contents), sum(total for _, total in contents)
    lack: Literal["empty", "missing"] | None = None if files else "empty" if matches else "missing"
    return OutputFound(path=output.path, lack=lack, files=files, bytes=size)


def _skipped(reached: set[int], tests: Sequence[re.Pattern[str] | None]) -> set[int]:
    """No two tests that are `None` follow one another."""
    return reached | {n + 1 for n in reached if n < len(tests) and tests[n] is None}


def _expression(part: str) -> re.Pattern[str]:
    """`*` and `?` match within one name. What is between two `*` is looked for once, from the left."""
    first, *others = ["".join("." if c == "?" else re.escape(c) for c in piece) for piece in _STARS.split(part)]
    middle = "".join(f"(?>.*?{piece})" for piece in others[:-1])
    return re.compile(first + middle + (f".*{others[-1]}" if others else ""), re.DOTALL)
