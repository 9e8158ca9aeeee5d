"""Command line: `runbook completion`."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from runbook_runner.cli.app import root_parser
from runbook_runner.core.errors import ExitCode

DESCRIPTION = """\
For bash: `runbook completion bash > ~/.local/share/bash-completion/completions/runbook`.

For zsh: write it to a file `_runbook` in a folder of `$fpath`. For tcsh: write it to a file that ~/.tcshrc sources.
"""

SHELLS = ("bash", "zsh", "tcsh")


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or tcsh.")


def execute(arguments: argparse.Namespace) -> int:
    import shtab  # only this command needs it

    root = root_parser(complete=True)
    for action in _actions(root):
        if action.metavar == "DIR":
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif action.type is Path or action.metavar == "PATH":
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    sys.stdout.write(shtab.complete(root, arguments.shell) + "\n")
    return ExitCode.PASS


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Of the parser and of all below it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _actions(child)
        else:
            yield action
