"""Trajectory: compares a run with the run that it repeats: the result files and the tool calls."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import unified_diff
from filecmp import cmp
from itertools import islice
from pathlib import Path

from runbook_runner.core.disk.walk import MOST_RECORDED, files_below
from runbook_runner.core.events import ToolCalled
from runbook_runner.core.text import counted
from runbook_runner.trajectory.folders import RESULTS

_MAX_DIFF_LINES = 40
_MAX_DIFF_BYTES = 1 << 20
_ALIGNED_LINES = 500  # that takes up to cubic time, and both files may come from others
_MAX_DIFFS = 100
_MAX_TEXT_BYTES = 64 << 20  # in which paths are looked for
_SIDE_BY_SIDE = 16


@dataclass(frozen=True)
class ResultsCompared:
    """Paths below `results/`."""

    same: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """Recorded and not made this time."""
    extra: tuple[str, ...] = ()
    diffs: tuple[tuple[str, str], ...] = ()
    """Path and unified diff of the changed text files, shortened."""

    @property
    def identical(self) -> bool:
        return not (self.changed or self.missing or self.extra)

    def differences(self) -> Iterator[str]:
        """One line for each file that is not the same, for people."""
        for word, paths in (("differs", self.changed), ("is missing", self.missing), ("is new", self.extra)):
            yield from (f"{RESULTS}/{path} {word}" for path in paths)


@dataclass(frozen=True)
class CallsCompared:
    recorded: int
    repeated: int
    first_difference: int | None
    """1-based number of the first call that differs; `None` when all are the same."""

    @property
    def identical(self) -> bool:
        return self.first_difference is None


def compare_results(recorded: Path, repeated: Path, in_other: Callable[[str], str]) -> ResultsCompared:
    """Both are trajectory folders. in_other: paths of the recorded sandbox → paths of the other; files that differ in
    nothing else are the same."""
    one, two = _files(recorded / RESULTS), _files(repeated / RESULTS)
    both = sorted(one.keys() & two.keys())
    is_same = {path: _same(one[path], two[path], in_other) for path in both}
    changed = [path for path in both if not is_same[path]]
    diffs = ((path, _diff(one[path], two[path], in_other)) for path in changed)
    return ResultsCompared(
        same=tuple(path for path in both if is_same[path]),
        changed=tuple(changed),
        missing=tuple(sorted(one.keys() - two.keys())),
        extra=tuple(sorted(two.keys() - one.keys())),
        diffs=tuple((path, text) for path, text in islice(diffs, _MAX_DIFFS) if text),
    )


def compare_calls(
    recorded: Iterable[ToolCalled], repeated: Iterable[ToolCalled], in_other: Callable[[str], str]
) -> CallsCompared:
    """in_other: as for `compare_results`. Calls are the same when name and input are."""
    one = [in_other(_spelled(call)) for call in recorded]
    two = [_spelled(call) for call in repeated]
    return CallsCompared(len(one), len(two), _first_difference(one, two))


def _first_difference(one: list[str], two: list[str]) -> int | None:
    """Calls of one answer run side by side, and agents report them in any order."""
    at = 0
    while at < max(len(one), len(two)):
        windows = ((one[at : at + size], two[at : at + size]) for size in range(1, _SIDE_BY_SIDE + 1))
        same = next((len(a) for a, b in windows if sorted(a) == sorted(b)), None)
        if same is None:
            return at + 1
        at += same
    return None


def _files(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in files_below(folder, most=MOST_RECORDED)}


def _same(before: Path, after: Path, in_other: Callable[[str], str]) -> bool:
    if cmp(before, after, shallow=False):
        return True
    if _larger(before, after) > _MAX_TEXT_BYTES:
        return False
    one, two = (file.read_bytes().decode(errors="surrogateescape") for file in (before, after))
    return in_other(one) == two


def _larger(*files: Path) -> int:
    return max(file.stat().st_size for file in files)


def _diff(before: Path, after: Path, in_other: Callable[[str], str]) -> str:
    """Empty when one of the files is not text or too large."""
    if _larger(before, after) > _MAX_DIFF_BYTES:
        return ""
    try:
        texts = in_other(before.read_text(encoding="utf-8")), after.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""
    one, two = (text.splitlines() for text in texts)
    where = ""
    if max(len(one), len(two)) > _ALIGNED_LINES:
        at = next((n for n, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
        one, two = one[at : at + _ALIGNED_LINES], two[at : at + _ALIGNED_LINES]
        where = f" from line {at + 1}"
    lines = list(unified_diff(one, two, f"recorded{where}", f"replayed{where}", lineterm="", n=1))
    left_out = len(lines) - _MAX_DIFF_LINES
    more = [f"… {counted(left_out, 'more line')}"] if left_out > 0 else []
    return "\n".join(lines[:_MAX_DIFF_LINES] + more)


def _spelled(call: ToolCalled) -> str:
    return call.model_dump_json(include={"name", "input"})
