"""Command line: single keys that are typed while a command works, and the terminal as it was when that is over."""

import os
import re
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

_ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|.)?", re.DOTALL)
"""What an arrow or another key without a character sends."""

_PATIENCE_S = 2.0


def can_read_keys() -> bool:
    """Whether stdin is a terminal, and this process may read from it: a job in the background may not."""
    try:
        return sys.stdin.isatty() and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


class Keys:
    """Context manager: what is typed goes to `pressed`, one character at a time, in a thread of its own. Ctrl-C and
    Ctrl-Z do what they always do."""

    def __init__(self, pressed: Callable[[str], None]):
        self._pressed = pressed
        self._before: list[Any] | None = None
        self._reads = threading.Event()
        self._pause, self._paused = os.pipe()
        self._idle = threading.Event()
        self._closed = False
        self._continued: Any = None
        self._thread = threading.Thread(target=self._read, name="keys", daemon=True)

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(0)
        self._continued = signal.signal(signal.SIGCONT, lambda *_: self._set())
        self._reads.set()
        self._set()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._reads.set()
        os.write(self._paused, b".")
        self._thread.join()
        for descriptor in (self._pause, self._paused):
            os.close(descriptor)
        signal.signal(signal.SIGCONT, self._continued)
        self.restore()

    def restore(self) -> None:
        """The terminal as it was. May be called from a signal handler, and more than once."""
        if self._before:
            with suppress(termios.error):  # it is gone
                termios.tcsetattr(0, termios.TCSADRAIN, self._before)

    @contextmanager
    def released(self) -> Iterator[None]:
        """In this block another program has the terminal; Ctrl-C is for that program."""
        self._reads.clear()
        self._idle.clear()
        os.write(self._paused, b".")
        self._idle.wait(_PATIENCE_S)  # a thread whose terminal is closed has ended
        handler = signal.signal(signal.SIGINT, lambda *_: None)
        self.restore()
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, handler)
            self._reads.set()
            self._set()

    def _set(self) -> None:
        if self._reads.is_set():
            with suppress(termios.error):
                tty.setcbreak(0, termios.TCSADRAIN)  # no echo, no line; what was typed before stays

    def _read(self) -> None:
        while True:
            self._reads.wait()
            if self._closed:
                return
            ready, _, _ = select.select([0, self._pause], [], [])
            if self._pause in ready:
                os.read(self._pause, 1)
                self._idle.set()
                continue
            try:
                typed = os.read(0, 64)
            except OSError:
                typed = b""
            if not typed:  # the terminal is closed: a signal follows
                return
            for key in _ESCAPES.sub(b"", typed).decode(errors="replace"):
                self._pressed(key)
