"""Runner, watch: what is in the files that a run uses, and what of it has changed since it was last looked at.

Contents count, not times: a file that is saved without a change, or removed and put back, has not changed.
"""

import hashlib
import os
import stat
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple

from runbook_runner.core.errors import InputError
from runbook_runner.core.files import read_found

_MOST_DIGESTED: Final = 64 << 20
"""Larger files are told apart by their size and time."""
_MOST_TEXT: Final = 5 << 20
_MOST_TEXTS: Final = 32 << 20
"""Of all files together."""


class Change(NamedTuple):
    path: Path
    kind: Literal["changed", "new", "gone"]
    size: int
    """In bytes, now."""
    before: str | None = None
    """`None` for what is not text, is too large, or must not be shown; so `after`."""
    after: str | None = None


class _State(NamedTuple):
    mark: tuple[int, ...] = ()
    """Time, size and inode; empty for what is not a file."""
    digest: str = ""
    text: str | None = None

    @property
    def size(self) -> int:
        return self.mark[1] if self.mark else 0


class Contents:
    def __init__(self) -> None:
        self._states: dict[Path, _State] = {}
        self._private: frozenset[str] = frozenset()

    def follow(self, files: Iterable[Path], private: Collection[Path] = ()) -> None:
        """From now on these count, and no others; those that are new, with what is in them now. private: files whose
        content is not kept."""
        self._private = frozenset(map(os.path.realpath, private))
        known, self._states = self._states, {}
        for path in files:
            self._states[path] = known.get(path) or self._read(path)

    def changes(
        self, files: Collection[Path], touched: Collection[Path] = (), skipped: Collection[Path] = ()
    ) -> list[Change]:
        """What has changed since the last call, or since it counts. files: what counts now. touched: those that are
        read although their time and size are the same. skipped: those that are not looked at now."""
        found = []
        for path in sorted({*self._states, *files}.difference(skipped)):
            before = self._states.get(path, _State())
            if before.mark == _mark(path) and path not in touched:
                continue
            after = self._states[path] = self._read(path)
            if before.digest != after.digest:
                found.append(_change(path, before, after))
        return found

    def take(self, files: Iterable[Path]) -> None:
        """What is in them now is no change."""
        for path in files:
            self._states[path] = self._read(path)

    def _read(self, path: Path) -> _State:
        """As a run would: a link out of a clone leads to nothing."""
        mark = _mark(path)
        if not mark:
            return _State()
        if mark[1] > _MOST_DIGESTED:
            return _State(mark, f"{mark}")
        try:
            raw = read_found(path, most=_MOST_DIGESTED)
        except InputError:
            return _State()
        text = None
        if len(raw) <= min(_MOST_TEXT, _MOST_TEXTS - self._texts()) and os.path.realpath(path) not in self._private:
            with suppress(UnicodeDecodeError):
                text = raw.decode()
        return _State(mark, hashlib.sha256(raw).hexdigest(), text)

    def _texts(self) -> int:
        return sum(state.size for state in self._states.values() if state.text is not None)


def _mark(path: Path) -> tuple[int, ...]:
    """Links are followed."""
    try:
        seen = os.stat(path)  # noqa: PTH116 - it is called for thousands of files
    except (OSError, ValueError):
        return ()
    return (seen.st_mtime_ns, seen.st_size, seen.st_ino) if stat.S_ISREG(seen.st_mode) else ()


def _change(path: Path, before: _State, after: _State) -> Change:
    if not before.digest or not after.digest:
        return Change(path, "new" if after.digest else "gone", after.size)
    both = before.text is not None and after.text is not None
    texts = (before.text, after.text) if both else (None, None)
    return Change(path, "changed", after.size, *texts)
