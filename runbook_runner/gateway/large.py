"""Gateway: work on a large body. In the event loop it would hold up the model calls of all runs of this process, so it
is done in a thread; for a small body the way to a thread and back would take longer than the work."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar, TypeVarTuple

LARGE_BYTES: Final = 512 << 10
LARGE_PIECES: Final = 4096
_SMALL_BYTES: Final = 32 << 10

_T = TypeVar("_T")
_Arguments = TypeVarTuple("_Arguments")
_THREADS: Final = ThreadPoolExecutor(4, "large bodies")  # each session uses one at a time


def pieces(body: bytes) -> int:
    """Returns at least the number of values in a JSON body: each is the first in its array or object, or stands behind
    a comma. Commas and brackets in texts count, too."""
    return 1 + body.count(b",") + body.count(b"[") + body.count(b"{")


def is_large(body: bytes) -> bool:
    if len(body) <= _SMALL_BYTES:
        return False
    return len(body) > LARGE_BYTES or pieces(body) > LARGE_PIECES


async def work(large: bool, function: Callable[[*_Arguments], _T], *arguments: *_Arguments) -> _T:
    """Returns the function's result. large: it works on a large body. One call inside C, such as parsing JSON, still
    keeps all other threads waiting: `MAX_PIECES` and `MAX_BODY_BYTES` limit how long."""
    if not large:
        return function(*arguments)
    return await asyncio.get_running_loop().run_in_executor(_THREADS, function, *arguments)
