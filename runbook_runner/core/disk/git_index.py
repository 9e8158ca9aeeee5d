"""Core, disk: which files a clone of git has brought, by its index. Git itself is not started: in a folder that came as
an archive its `.git/config` is a stranger's, and names programs.

Documentation/gitformat-index.txt of git describes the format.
"""

import hashlib
import os
import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final

from runbook_runner.core.disk.links import open_regular

_MOST: Final = 256 << 20
_NUMBERS: Final = 40  # bytes of each entry before the digest: times, device, owner, size
_LONGER: Final = 0x4000  # the flag of an entry with two more bytes of flags
_COMPRESSES_NAMES: Final = 4  # the version


def is_of_user(real: Path, source: Path) -> bool:
    """Whether a clone brought `source` and not the file or folder `real`, which `source` names: a working copy of git
    has the one in its index and not the other. Both are real paths, up to the last link."""
    top = next((folder for folder in source.parents if os.path.lexists(folder / ".git")), None)
    names = _names_in(top) if top else frozenset()
    if top is None or (names is not None and not _has(names, top, source)):
        return False
    return names is None or not real.is_relative_to(top) or not _has(names, top, real)


def _has(names: frozenset[bytes], top: Path, path: Path) -> bool:
    """A folder is there when a file in it is."""
    below = os.fsencode(path.relative_to(top))
    return below in names or path == top or any(name.startswith(below + b"/") for name in names)


def _names_in(top: Path) -> frozenset[bytes] | None:
    """The paths in the index; `None` when it can't be read."""
    try:
        index = _folder_of_git(top) / "index"
        state = index.stat()
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError):
        return None
    return _read(index, state.st_mtime_ns, state.st_size)


def _folder_of_git(top: Path) -> Path:
    """Of a submodule and of a further working tree, `.git` is a file that names it."""
    git = top / ".git"
    if git.is_dir():
        return git
    with open_regular(git) as file:
        return top / os.fsdecode(file.read(1 << 16).removeprefix(b"gitdir:").strip())


@lru_cache(maxsize=4)
def _read(index: Path, changed: int, size: int) -> frozenset[bytes] | None:
    """changed, size: of the file, so that another one is read."""
    try:
        with open_regular(index) as file:
            raw = file.read(_MOST + 1)
        return frozenset(_names(raw)) if len(raw) <= _MOST else None
    except (OSError, ValueError, struct.error, IndexError):
        return None


def _names(raw: bytes) -> Iterator[bytes]:
    """Raises ValueError, IndexError and struct.error for what is no whole index."""
    kind, version, count = struct.unpack_from(">4sII", raw)
    if kind != b"DIRC":
        raise ValueError
    flags_at = _NUMBERS + (32 if hashlib.sha256(raw[:-32]).digest() == raw[-32:] else 20)
    at, name, total = 12, b"", 0
    for _ in range(count):
        (flags,) = struct.unpack_from(">H", raw, at + flags_at)
        start = at + flags_at + (4 if flags & _LONGER else 2)
        if version == _COMPRESSES_NAMES:
            dropped, start = _number(raw, start)
            name = name[: len(name) - dropped]
        else:
            name = b""
        end = raw.index(0, start)
        name += raw[start:end]
        total += len(name)
        if total > _MOST:  # names may be longer than what holds them
            raise ValueError
        yield name
        at = end + 1 if version == _COMPRESSES_NAMES else at + ((end - at + 8) & ~7)
    if raw[at : at + 4] == b"link":  # a split index: the names are in another file
        raise ValueError


def _number(raw: bytes, at: int) -> tuple[int, int]:
    """Returns it and where it ends: seven bits a byte, as in a pack's offsets."""
    value = raw[at] & 0x7F
    while raw[at] & 0x80:
        at += 1
        value = ((value + 1) << 7) | (raw[at] & 0x7F)
    return value, at + 1
