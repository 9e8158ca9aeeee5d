"""Command line: `runbook snapshots import`."""

import argparse
from pathlib import Path

from rich.text import Text

from runbook_runner.cli.machine.snapshots.images import run_images
from runbook_runner.cli.ui.console import make_console
from runbook_runner.core.errors import ExitCode
from runbook_runner.core.text import printable_output
from runbook_runner.sandbox.docker.engine import connect
from runbook_runner.sandbox.images.transfer.importing import load

DESCRIPTION = """\
Both machines need the same version of Runbook Runner, and the same files of your own snapshots. Import what you
exported yourself: your runs start what is in it. What no run here will use is not kept.

Exit codes: 0 runs here will use every image, 1 not every one (it says why), 2 bad input, 3 no Docker engine answers.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="A file that `runbook snapshots export` wrote.")
    replacing = "Put an image in the place of another one here that runs use now under the same name."
    parser.add_argument("--replace", action="store_true", help=replacing)


def execute(arguments: argparse.Namespace) -> int:
    console = make_console()
    loaded = load(connect(), arguments.file, run_images(), replace=arguments.replace)
    for image in loaded:
        if image.used_as:
            console.print(Text(f"✓ {image.used_as}", style="green"), soft_wrap=True)
        else:
            tag = printable_output(image.tag)
            console.print(Text(f"! {tag}: no run here will use it. {image.why_not}"), soft_wrap=True)
    return ExitCode.PASS if all(image.used_as for image in loaded) else ExitCode.VERDICT_FAIL
