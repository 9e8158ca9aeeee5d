"""Runner, watch: notices that something was saved, by the system's own notifications (watchfiles).

The folders of the files are watched, not the files: editors write beside a file and rename, or remove it and make it
anew. Where notifications do not come (some network file systems), the files are looked at every few seconds.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from watchfiles import watch

QUIET_MS: Final = 60
"""A save is over when nothing has happened for so long: some editors write a file in several steps."""
_LONGEST_MS: Final = 400
"""A save that goes on for longer counts as several."""
_TICK_MS: Final = 250
_LOOK_S: Final = 5.0
_MOST_FOLDERS: Final = 4_000

Touched = Callable[[frozenset[Path]], None]


class Watcher:
    """Context manager. Its functions are called in a thread of its own."""

    def __init__(self, touched: Touched, failed: Callable[[str], None]):
        """touched: gets the paths that were touched; none when it is only time to look. failed: gets, once, why the
        system does not notify."""
        self._touched = touched
        self._failed = failed
        self._state = threading.Lock()
        self._paths: tuple[frozenset[Path], frozenset[Path]] = frozenset(), frozenset()
        self._changed = threading.Event()
        """Other paths are to be watched, or none any more."""
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def follow(self, files: Iterable[Path], trees: Iterable[Path]) -> None:
        """From now on these count: files, and folders with all that is in them."""
        with self._state:
            paths = frozenset(files), frozenset(trees)
            if paths != self._paths:
                self._paths = paths
                self._changed.set()
        if not self._thread.is_alive():
            self._thread.start()

    def close(self) -> None:
        with self._state:
            self._closed = True
            self._changed.set()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        told = False
        while True:
            with self._state:
                if self._closed:
                    return
                self._changed.clear()
                files, trees = self._paths
            try:
                self._watch(files, trees)
            except (OSError, RuntimeError) as error:  # a limit of the system is reached, or a folder has just gone
                if not told and not isinstance(error, FileNotFoundError):
                    told = True
                    self._failed(str(error))
                self._touched(frozenset())
                self._changed.wait(_LOOK_S if told else _TICK_MS / 1000)

    def _watch(self, files: frozenset[Path], trees: frozenset[Path]) -> None:
        """Returns when others are to be watched, or a folder has come or gone. Raises OSError and RuntimeError."""
        wanted, inner = _wanted({*files, *trees}), _folders(trees)
        places = _places(wanted)
        counting = _counting(files, trees)
        changes = watch(
            *dict.fromkeys([*map(str, places), *inner]),
            watch_filter=None,
            debounce=_LONGEST_MS,
            step=QUIET_MS,
            stop_event=self._changed,
            rust_timeout=_TICK_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
            recursive=False,
            ignore_permission_denied=True,
        )
        looked = 0.0  # what was saved before the watch had begun is seen at the first tick
        for found in changes:
            touched = frozenset(
                path for _, name in found if (path := Path(name)) in counting or not trees.isdisjoint(path.parents)
            )
            if touched or time.monotonic() - looked > _LOOK_S:
                looked = time.monotonic()
                self._touched(touched)
            if touched and (_wanted({*files, *trees}), _folders(trees)) != (wanted, inner):
                return
            if _places(wanted) != places:
                return


def _counting(files: Iterable[Path], trees: Iterable[Path]) -> frozenset[Path]:
    """Those paths, what they are links to, and the folders above."""
    ends = {*files, *trees, *(Path(os.path.realpath(path)) for path in files)}
    return frozenset({*ends, *(above for path in ends for above in path.parents)})


def _folders(trees: Iterable[Path]) -> list[str]:
    """The folders in these, themselves included. Each is watched by itself, so that their number is bounded."""

    def below() -> Iterator[str]:
        for tree in trees:
            yield from (folder for folder, _, _ in os.walk(tree))

    return [folder for _, folder in zip(range(_MOST_FOLDERS), below(), strict=False)]


def _wanted(paths: Iterable[Path]) -> frozenset[Path]:
    """The folders of these paths, and of what they are links to."""
    return frozenset(folder for path in paths for folder in (path.parent, Path(os.path.realpath(path)).parent))


def _places(folders: Iterable[Path]) -> dict[Path, int]:
    """These folders with their inodes; of one that is not there, the nearest above it."""
    found = {}
    for folder in folders:
        for above in (folder, *folder.parents):
            try:
                found[above] = os.stat(above).st_ino  # noqa: PTH116
                break
            except OSError:
                continue
    return found
