"""Command line: `runbook shell`."""

import argparse
import os
import sys
from pathlib import Path

from runbook_runner.cli.options import add_env_file, add_secrets, add_shell_command, add_trust, given_fields
from runbook_runner.cli.ui.follow import ask_on_terminal
from runbook_runner.cli.ui.terminal import ends_by_signal, is_terminal, relay
from runbook_runner.runner import RunOptions
from runbook_runner.runner.attach.shell import ShellRequest, open_shell_sandbox, prepare_shell

DESCRIPTION = """\
The sandbox is removed when the shell ends; nothing is recorded, and there is no model in it. It has those secrets of
the run that --env-file or --secret give it; the others are left out.

Exit codes: the command's own; 2 bad input, 3 this machine is not ready.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", metavar="SNAPSHOT|TRAJECTORY", help="A snapshot, or the id (or its beginning) or folder of a run."
    )
    add_shell_command(parser)
    parser.add_argument("--agent", help="With a snapshot: install this agent's CLI as well.")
    sandbox = "auto, docker, bubblewrap or host (default: that of the run; docker for a snapshot)."
    parser.add_argument("--sandbox", help=sandbox)
    parser.add_argument("--network", metavar="POLICY", help="A network policy other than the run's.")
    add_secrets(parser)
    add_env_file(parser, "Take the run's secrets from this file.")
    add_trust(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Returns the exit code of the command in the sandbox."""
    options = RunOptions(**given_fields(RunOptions, arguments))
    request = ShellRequest(near=(Path.cwd(),), options=options, **given_fields(ShellRequest, arguments))
    prepared = prepare_shell(request, ask_on_terminal())
    at_terminal = is_terminal()
    with ends_by_signal(), open_shell_sandbox(prepared, _report) as opened:
        return relay(opened.attach(arguments.command, os.environ, tty=at_terminal), at_terminal=at_terminal)


def _report(line: str, *, detail: bool = False) -> None:
    if not detail:
        sys.stderr.write(line + "\n")
