"""Sandbox: what attaching to a sandbox means to every backend: the command line, and the error when it is gone."""

from collections.abc import Sequence
from typing import Final

GONE: Final = "The sandbox is gone: its run has ended, or it was removed."
# $1 working folder; then the command, none for a shell.
_START: Final = """\
cd -- "$1" 2>/dev/null || cd /
shift
[ $# -gt 0 ] && exec "$@"
command -v bash >/dev/null 2>&1 && exec bash
exec sh
"""


def in_folder(folder: str, argv: Sequence[str]) -> list[str]:
    """Returns a command line that runs argv in the folder, or a shell when argv is empty."""
    return ["sh", "-c", _START, "runbook", folder, *argv]
