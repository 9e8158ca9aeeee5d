"""Core: the files that this process may have open. Each connection of a sandbox takes one or two; the run itself needs
the others."""

import resource
from contextlib import suppress
from typing import Final

_WANTED: Final = 4096
_AT_ONCE: Final = 64


def raise_limit() -> None:
    """To what the user may set: the system's own is 256 on macOS, 1,024 on most Linux."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def at_most(number: int, part: int) -> int:
    """The number, but not more than this part of the files: 4 is a quarter."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return number if soft == resource.RLIM_INFINITY else max(1, min(number, soft // part))


def accepted_at_once() -> int:
    """Connections that a server accepts before it counts them: asyncio's `backlog`, by which it does so three times or
    more."""
    return at_most(_AT_ONCE, 32)
