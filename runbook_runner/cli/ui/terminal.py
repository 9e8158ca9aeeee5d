"""Command line: connects the user's terminal with a command in a sandbox, and restores it afterwards."""

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

from runbook_runner.cli.ui.output import discard
from runbook_runner.runner.attach import Attached

_BLOCK = 1 << 16


def is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def relay(attached: Attached, *, at_terminal: bool) -> int:
    """Passes input and output on until the command has ended; returns its exit code.

    Raises SandboxError; without a terminal also KeyboardInterrupt (at a terminal, Ctrl-C goes to the command).
    """
    with _raw(attached) if at_terminal else _plain():
        if not attached.shares_input:
            threading.Thread(target=_type, args=(attached,), name="typing", daemon=True).start()
        while (received := attached.receive()) is not None:
            stream, data = received
            _write(1 if stream == "stdout" else 2, data)
    return attached.wait()


@contextmanager
def ends_by_signal() -> Iterator[None]:
    """A closed terminal and SIGTERM raise KeyboardInterrupt, so that the sandbox is closed."""
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
        tty.setraw(0, termios.TCSADRAIN)  # keeps what was typed before
        resize()
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, handler)


def _type(attached: Attached) -> None:
    """Passes stdin on, to its end."""
    with suppress(OSError):
        while data := os.read(0, _BLOCK):
            attached.send(data)
        attached.end_input()


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:  # another process made the terminal non-blocking
            select.select([], [descriptor], [])
        except BrokenPipeError:
            discard(descriptor)
