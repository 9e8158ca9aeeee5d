"""Command line: `runbook attach`."""

import argparse

from runbook_runner.cli.options import add_env_file, add_secrets, add_shell_command
from runbook_runner.cli.ui.terminal import ends_by_signal, is_terminal, relay
from runbook_runner.core.settings import Settings
from runbook_runner.runner.attach.attach import attach
from runbook_runner.runner.request.variables import user_variables

DESCRIPTION = """\
The run continues meanwhile, and the shell ends with it. The agent sees what you change. In a container you see the
agent's processes too; with bubblewrap you share its files and limits, and have your own processes and network.

Exit codes: the command's own; 2 bad input, 3 the run has ended or this machine is not ready.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="TRAJECTORY", help="The id of a run, or its beginning, or its folder.")
    add_shell_command(parser)
    add_secrets(parser)
    add_env_file(parser, "Take the run's secrets from this file.")


def execute(arguments: argparse.Namespace) -> int:
    """Returns the exit code of the command in the sandbox."""
    at_terminal, user = is_terminal(), user_variables(arguments.env_file)
    attached = attach(Settings.load(), arguments.name, arguments.command, user, arguments.secrets, tty=at_terminal)
    with ends_by_signal():
        return relay(attached, at_terminal=at_terminal)
