"""Bubblewrap sandbox: which files of this machine's /etc are shown, and which below them stay hidden, such as keys."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

# What programs look up in /etc: users, names, time, certificates, libraries, which editor `vi` is. No configuration.
_ETC: Final = (
    "alternatives", "ca-certificates", "fonts", "group", "host.conf", "hosts", "ld.so.cache", "ld.so.conf",
    "ld.so.conf.d", "localtime", "mime.types", "nsswitch.conf", "passwd", "pki", "protocols", "resolv.conf", "services",
    "ssl", "timezone",
)  # fmt: skip
SHOWN: Final = tuple(f"/etc/{name}" for name in _ETC)
_SEARCHED: Final = (*SHOWN, "/usr/local/etc", "/usr/etc")
_READ: Final = {True: stat.S_IROTH | stat.S_IXOTH, False: stat.S_IROTH}


def hidden_files() -> Iterator[tuple[str, bool]]:
    """Yields what not every user may read of what is shown, and whether it is a folder: the sandbox's user may be this
    machine's root, or in the group that reads its keys."""
    for place in _SEARCHED:
        with suppress(FileNotFoundError):
            yield from _below(place, Path(place).stat().st_mode)


def _below(path: str, mode: int) -> Iterator[tuple[str, bool]]:
    is_folder = stat.S_ISDIR(mode)
    if mode & _READ[is_folder] != _READ[is_folder]:
        yield path, is_folder
    elif is_folder:
        for entry in list(os.scandir(path)):
            if not entry.is_symlink():
                yield from _below(entry.path, entry.stat(follow_symlinks=False).st_mode)
