"""Bubblewrap sandbox: this machine's abstract unix sockets, which have no file. With the network policy `full` nothing
else keeps them out, and the X server of a desktop listens there, so what runs inside could type on its screen.

Landlock can since Linux 6.12 (landlock(7)): the supervisor asks for it. Elsewhere the filter of system calls refuses
unix sockets altogether, except pairs.
"""

import os
import stat
from functools import cache
from pathlib import Path
from typing import Final

_CREATE_RULESET: Final = 444  # of each architecture (include/uapi/asm-generic/unistd.h)
_VERSION: Final = 1  # LANDLOCK_CREATE_RULESET_VERSION (linux/landlock.h)
_SCOPES: Final = 6  # the first version that has them


def can_be_refused(bwrap: str) -> bool:
    """Whether Landlock can do it. An ordinary user must give up new privileges for it, which a setuid bwrap needs."""
    privileged = os.geteuid() != 0 and Path(bwrap).exists() and Path(bwrap).stat().st_mode & stat.S_ISUID
    return not privileged and _version() >= _SCOPES


@cache
def _version() -> int:
    import ctypes

    return int(ctypes.CDLL(None, use_errno=True).syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION))
