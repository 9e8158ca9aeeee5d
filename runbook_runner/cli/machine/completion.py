"""Command line: `runbook completion`."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

from runbook_runner.agents.registry import known_agents
from runbook_runner.cli.app import root_parser
from runbook_runner.core.errors import ExitCode
from runbook_runner.core.facts.providers import PROVIDERS
from runbook_runner.core.settings import RecordMode
from runbook_runner.core.spec import Policy
from runbook_runner.runbook.authoring.scaffold import EVALUATIONS
from runbook_runner.sandbox.backends import BACKENDS
from runbook_runner.sandbox.images.snapshots import known_snapshots

DESCRIPTION = """\
For bash: `runbook completion bash > ~/.local/share/bash-completion/completions/runbook`.

For zsh: write it to a file `_runbook` in a folder of `$fpath`. For tcsh: write it to a file that ~/.tcshrc sources.
"""

SHELLS = ("bash", "zsh", "tcsh")
_WORDS: Final = {
    "--agent": known_agents(),
    "--evaluation": EVALUATIONS,
    "--network": get_args(Policy),
    "--provider": tuple(PROVIDERS),
    "--record-mode": get_args(RecordMode),
    "--sandbox": ("auto", *BACKENDS),
    "--snapshot": known_snapshots(),
    "SNAPSHOT": known_snapshots(),
    "SNAPSHOT|TRAJECTORY": known_snapshots(),
}
"""By option, or by what the help calls an argument: what this program brings with it. What a folder has besides is not
known when the script is written, so the parser takes other words, too."""


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or tcsh.")


def execute(arguments: argparse.Namespace) -> int:
    import shtab  # only this command needs it

    root = root_parser(complete=True)
    for action in _actions(root):
        names = (*action.option_strings, str(action.metavar))
        action.choices = action.choices or next((_WORDS[name] for name in names if name in _WORDS), None)
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
