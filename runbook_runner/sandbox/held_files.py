"""Sandbox: files and folders without a name. What was removed takes its room until no process holds it open or mapped,
runs it, or is in it, and no measuring of folders sees it. Memory that is shared by descriptor (memfd) is a file without
a name as well.

A process lives as long as one of its threads. Of one whose first thread has ended, /proc/PID shows neither memory nor
descriptors; those are in /proc/PID/task/TID alone.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple


class File(NamedTuple):
    device: int
    inode: int


Held = Mapping[File, int]
"""The bytes that each takes."""


def held_by(processes: Iterable[int]) -> Held:
    """Returns what processes of this machine hold; nothing of one that this user may not look into. Linux only."""
    found: dict[File, int] = {}
    for process in processes:
        for thread in threads(process):  # each may have descriptors of its own
            found.update(_opened(thread))
        found |= {file: size for file, size in mapped(_of_memory(process, "maps")) if file not in found}
    return found


def threads(process: int) -> Iterator[str]:
    """Yields the folder in /proc of each thread of a process of this machine. Linux only."""
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{process}/task"):  # noqa: PTH208 - twice as fast
            yield f"/proc/{process}/task/{thread}"


def _of_memory(process: int, name: str) -> Iterator[bytes]:
    """Yields the lines of a file in /proc about the memory of a process, which is that of all its threads; some twice
    when a thread ends meanwhile."""
    for thread in threads(process):
        with suppress(OSError), open(f"{thread}/{name}", "rb") as file:  # noqa: PTH123 - as above
            line = b""
            for line in file:
                yield line
            if line:
                return


def _opened(thread: str) -> Iterator[tuple[File, int]]:
    with suppress(OSError):
        for name in ("exe", "cwd", "root", *(f"fd/{number}" for number in os.listdir(f"{thread}/fd"))):  # noqa: PTH208 - as above
            with suppress(OSError):
                seen = os.stat(f"{thread}/{name}")  # noqa: PTH116 - as above
                if seen.st_nlink == 0:
                    yield File(seen.st_dev, seen.st_ino), seen.st_blocks * 512


def mapped(maps: Iterable[bytes]) -> Iterator[tuple[File, int]]:
    """Yields the removed files among lines of /proc/PID/maps (proc(5)), each with the bytes of one mapping."""
    for line in maps:
        if line.rstrip().endswith(b"(deleted)"):
            span, _, _, device, inode = line.split()[:5]
            begin, end = span.split(b"-")
            major, minor = device.split(b":")
            size = max(0, int(end, 16) - int(begin, 16))  # a program of an image may have written the line
            yield File(os.makedev(int(major, 16), int(minor, 16)), int(inode)), size


def descendants(processes: Iterable[int]) -> Iterator[int]:
    """Yields processes of this machine and all below them. Linux only."""
    ahead = list(processes)
    while ahead:
        process = ahead.pop()
        yield process
        for thread in threads(process):
            with suppress(OSError), open(f"{thread}/children", "rb") as children:  # noqa: PTH123 - as above
                ahead += map(int, children.read().split())


def shared_memory(process: int) -> int:
    """Returns a process' share of the memory that it has mapped together with others; 0 where that can't be known."""
    found = (line.split() for line in _of_memory(process, "smaps_rollup") if line.startswith(b"Pss_Shmem:"))
    return next((int(words[1]) << 10 for words in found), 0)
