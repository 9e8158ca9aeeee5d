"""Command line: a question to the person at the terminal."""

import sys
from getpass import getpass

from runbook_runner.core.text import printable


def ask(question: str, default: str | None = None, *, is_secret: bool = False) -> str:
    """Asks on stderr until there is an answer; an empty answer means the default.

    is_secret: what is typed is not shown. Raises KeyboardInterrupt when the input has ended.
    """
    prompt = f"{question} [{default}]: " if default else f"{question}: "
    prompt = printable(prompt)
    while True:
        answer = _read_line(prompt, is_secret=is_secret)
        if answer or default is not None:
            return answer or default or ""


def _read_line(prompt: str, *, is_secret: bool) -> str:
    try:
        if is_secret:
            return getpass(prompt, sys.stderr)
        sys.stderr.write(prompt)
        sys.stderr.flush()
        return input()
    except EOFError:
        raise KeyboardInterrupt from None
