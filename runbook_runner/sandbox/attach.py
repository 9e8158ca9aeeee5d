"""Sandbox: a command in it at somebody's own terminal: what they type goes in, what it says comes out."""

from typing import Final, Protocol

from runbook_runner.sandbox.base import Stream

GONE: Final = "The sandbox is gone: its run has ended, or somebody removed it."

# $1 working folder; then the command, none for a shell.
SHELL: Final = """\
cd -- "$1" 2>/dev/null || cd /
shift
[ $# -gt 0 ] && exec "$@"
command -v bash >/dev/null 2>&1 && exec bash
exec sh
"""


class Joined(Protocol):
    """Read it from one thread; write to it from another."""

    @property
    def shares_input(self) -> bool:
        """It reads our own stdin: nothing is to be sent."""
        ...

    def receive(self) -> tuple[Stream, bytes] | None:
        """Waits for output; with a terminal all of it is stdout. `None`: there will be no more."""
        ...

    def send(self, data: bytes) -> None:
        """Its input, as it was typed. Raises OSError once it has ended."""
        ...

    def end_input(self) -> None:
        """Without a terminal: there is no more. A terminal has a key for that."""
        ...

    def resize(self, rows: int, columns: int) -> None:
        """Of its terminal."""
        ...

    def wait(self) -> int:
        """Its exit code, 128 + number of a signal. After the last `receive`. Raises SandboxError."""
        ...
