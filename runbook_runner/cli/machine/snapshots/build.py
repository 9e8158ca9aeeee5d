"""Command line: `runbook snapshots build`."""

import argparse

from rich.text import Text

from runbook_runner.cli.machine.snapshots.images import add_layers, build_missing, stacks, trust_for
from runbook_runner.cli.options import add_quiet, add_trust
from runbook_runner.cli.ui.console import make_console
from runbook_runner.core.errors import ExitCode
from runbook_runner.sandbox.docker.engine import connect

DESCRIPTION = "Exit codes: 0 built or there already, 2 bad input, 3 it could not be built."


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="SNAPSHOT", help="A snapshot.")
    add_layers(parser)
    fresh = "Build it even if it exists: for newer Debian packages."
    parser.add_argument("--fresh", action="store_true", help=fresh)
    add_trust(parser)
    add_quiet(parser)


def execute(arguments: argparse.Namespace) -> int:
    console, trust = make_console(quiet=arguments.quiet), trust_for(arguments)
    layers = stacks(arguments.agents, arguments.packages, trust)
    for image in build_missing(connect(), arguments.names, layers, console, trust=trust, fresh=arguments.fresh):
        console.print(Text(f"✓ {image.tag}", style="green"), soft_wrap=True)
    return ExitCode.PASS
