"""Command line: `runbook snapshots export`."""

import argparse
from pathlib import Path

from rich.filesize import decimal
from rich.text import Text

from runbook_runner.cli.machine.snapshots.images import add_layers, build_missing, stacks, trust_for
from runbook_runner.cli.options import add_force, add_quiet, add_trust
from runbook_runner.cli.ui.console import make_console
from runbook_runner.cli.ui.output import require_new
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.files import is_folder
from runbook_runner.sandbox.docker.engine import connect
from runbook_runner.sandbox.images.transfer.exporting import export

DESCRIPTION = "Exit codes: 0 written, 2 bad input, 3 an image could not be built."


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="SNAPSHOT", help="A snapshot.")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="The file, a tar archive.")
    add_force(parser)
    add_layers(parser)
    add_trust(parser)
    add_quiet(parser)


def execute(arguments: argparse.Namespace) -> int:
    out: Path = arguments.out
    if not is_folder(out.absolute().parent):
        raise InputError("There is no such folder.", where=str(out.absolute().parent))
    require_new(out, force=arguments.force)
    engine, console = connect(), make_console(quiet=arguments.quiet)
    trust = trust_for(arguments)
    wanted = stacks(arguments.agents, arguments.packages, trust)
    # With what each is built on: an import finds the name of an image by that of the one below it.
    layers = [stack[:depth] for stack in wanted for depth in range(len(stack) + 1)]
    images = build_missing(engine, arguments.names, layers, console, trust=trust)
    tags = list(dict.fromkeys(image.tag for image in images))
    size = export(engine, tags, out)
    for tag in tags:
        console.print(Text(f"✓ {tag}", style="green"), soft_wrap=True)
    console.print(f"{out} ({decimal(size)})", soft_wrap=True)
    return ExitCode.PASS
