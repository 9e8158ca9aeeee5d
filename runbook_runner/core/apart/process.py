"""Core, apart: starts such a process, and ends it."""

import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

_BOUNDS: Final = Path(__file__).with_name("bounds_program.py").read_text("utf-8")

OnCancel = Callable[[Callable[[], None]], AbstractContextManager[None]]
"""In its block, a request to stop the run calls the function; the block's end then raises CancelledError."""


@contextmanager
def started(program: str, *arguments: str, seconds: float) -> "Iterator[subprocess.Popen[bytes]]":
    """program: source that needs nothing but the standard library. The process has pipes for stdin and stdout, no
    environment and, on Linux, 1 GB of memory. It is killed after the seconds, and at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _BOUNDS + program, *_bounds(seconds), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={},
        start_new_session=True,  # Ctrl-C at the terminal is the runner's to handle
    ) as process:
        clock = threading.Timer(seconds, process.kill)
        clock.daemon = True
        clock.start()
        try:
            yield process
        finally:
            clock.cancel()
            process.kill()


def _bounds(seconds: float) -> tuple[str, ...]:
    cpu_s = math.ceil(seconds) + 1  # the last resort, for a process that nobody ends
    return str(cpu_s), *((str(os.getpid()),) if sys.platform == "linux" else ())
