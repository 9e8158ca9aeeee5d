"""Trajectory, diff: the result files of two runs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import unified_diff
from filecmp import cmp
from itertools import islice
from pathlib import Path

from runbook_runner.core.disk.walk import MOST_RECORDED, files_below
from runbook_runner.core.text import counted
from runbook_runner.trajectory.folders import RESULTS

_MAX_DIFF_LINES = 40
_MAX_DIFF_BYTES = 1 << 20
_ALIGNED_LINES = 500  # that takes up to cubic time, and both files may come from others
_MAX_DIFFS = 100
_MAX_TEXT_BYTES = 64 << 20  # in which paths are looked for


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


def compare_results(
    recorded: Path, repeated: Path, in_other: Callable[[str], str], names: tuple[str, str] = ("recorded", "replayed")
) -> ResultsCompared:
    """Both are folders of results. names: of the two, in diffs of texts. in_other: paths of the recorded sandbox →
    paths of the other; files that differ in nothing else are the same."""
    one, two = _files(recorded), _files(repeated)
    both = sorted(one.keys() & two.keys())
    is_same = {path: _same(one[path], two[path], in_other) for path in both}
    changed = [path for path in both if not is_same[path]]
    diffs = ((path, _diff(one[path], two[path], in_other, names)) for path in changed)
    return ResultsCompared(
        same=tuple(path for path in both if is_same[path]),
        changed=tuple(changed),
        missing=tuple(sorted(one.keys() - two.keys())),
        extra=tuple(sorted(two.keys() - one.keys())),
        diffs=tuple((path, text) for path, text in islice(diffs, _MAX_DIFFS) if text),
    )


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


def _diff(before: Path, after: Path, in_other: Callable[[str], str], names: tuple[str, str]) -> str:
    """Empty when one of the files is not text or too large."""
    if _larger(before, after) > _MAX_DIFF_BYTES:
        return ""
    try:
        texts = in_other(before.read_text(encoding="utf-8")), after.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""
    return diff_of_texts(*texts, *names)


def diff_of_texts(before: str, after: str, name: str, other: str, most: int = _MAX_DIFF_LINES) -> str:
    """The unified diff, shortened to `most` lines; of long texts, from the first line that differs."""
    one, two = before.splitlines(), after.splitlines()
    where = ""
    if max(len(one), len(two)) > _ALIGNED_LINES:
        at = next((n for n, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
        one, two = one[at : at + _ALIGNED_LINES], two[at : at + _ALIGNED_LINES]
        where = f" from line {at + 1}"
    lines = list(unified_diff(one, two, f"{name}{where}", f"{other}{where}", lineterm="", n=1))
    left_out = len(lines) - most
    more = [f"… {counted(left_out, 'more line')}"] if left_out > 0 else []
    return "\n".join(lines[:most] + more)
