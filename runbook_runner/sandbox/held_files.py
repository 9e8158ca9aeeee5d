"""Sandbox: files without a name. A removed file takes its room until no process holds it open or mapped, and no
measuring of folders sees it. Memory that is shared by descriptor (memfd) is a file without a name as well."""

import os
import stat
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
        with suppress(OSError):  # it has ended
            # Every thread may have descriptors of its own.
            for thread in os.listdir(f"/proc/{process}/task"):  # noqa: PTH208 - twice as fast
                found.update(_opened(f"/proc/{process}/task/{thread}/fd"))
            with open(f"/proc/{process}/maps", "rb") as maps:  # noqa: PTH123 - as above
                found |= {file: size for file, size in mapped(maps) if file not in found}
    return found


def _opened(folder: str) -> Iterator[tuple[File, int]]:
    for number in os.listdir(folder):  # noqa: PTH208 - as above
        with suppress(OSError):
            seen = os.stat(f"{folder}/{number}")  # noqa: PTH116 - as above
            if seen.st_nlink == 0 and stat.S_ISREG(seen.st_mode):
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
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{process}/task"):  # noqa: PTH208 - as above
                with open(f"/proc/{process}/task/{thread}/children", "rb") as children:  # noqa: PTH123 - as above
                    ahead += map(int, children.read().split())


def shared_memory(process: int) -> int:
    """Returns a process' share of the memory that it has mapped together with others; 0 where that can't be known."""
    with suppress(OSError), open(f"/proc/{process}/smaps_rollup", "rb") as rollup:  # noqa: PTH123 - as above
        for line in rollup:
            if line.startswith(b"Pss_Shmem:"):
                return int(line.split()[1]) << 10
    return 0
