"""Command line: the user's terminal at a command elsewhere: raw, resized with its window, and as it was afterwards."""

import os
import select
import shutil
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from runbook_runner.runner.attach import Attached

_BLOCK = 1 << 16


def is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def relay(attached: Attached, *, at_terminal: bool) -> int:
    """Until the command has ended; its exit code. Raises SandboxError, and KeyboardInterrupt without a terminal: with
    one, every key is the command's."""
    with _raw(attached) if at_terminal else _plain():
        if not attached.shares_input:
            threading.Thread(target=_type, args=(attached,), name="typing", daemon=True).start()
        while (said := attached.receive()) is not None:
            stream, data = said
            _write(1 if stream == "stdout" else 2, data)
    return attached.wait()


@contextmanager
def ends_by_signal() -> Iterator[None]:
    """A closed window or a request to end is an interruption: what was opened is closed."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGHUP, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _plain() -> Iterator[None]:
    yield


@contextmanager
def _raw(attached: Attached) -> Iterator[None]:
    def resize(*_: object) -> None:
        size = shutil.get_terminal_size()
        attached.resize(size.lines, size.columns)

    before = termios.tcgetattr(0)
    handler = signal.signal(signal.SIGWINCH, resize)
    try:
        tty.setraw(0, termios.TCSADRAIN)  # what was typed meanwhile is kept
        resize()
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, handler)


def _type(attached: Attached) -> None:
    """What comes on our stdin, to its end."""
    with suppress(OSError):
        while data := os.read(0, _BLOCK):
            attached.send(data)
        attached.end_input()


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:  # somebody made our terminal non-blocking
            select.select([], [descriptor], [])
