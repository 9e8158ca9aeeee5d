"""Command line: `runbook snapshots prune`."""

import argparse
from collections.abc import Iterable

from rich.console import Console
from rich.filesize import decimal

from runbook_runner.cli.machine.snapshots.images import near, run_images
from runbook_runner.cli.options import add_dry_run
from runbook_runner.cli.ui.console import make_console
from runbook_runner.core.errors import ExitCode
from runbook_runner.sandbox.docker.engine import Engine, connect
from runbook_runner.sandbox.images import inventory
from runbook_runner.sandbox.images.built_here import forget_removed
from runbook_runner.sandbox.images.inventory import Built
from runbook_runner.sandbox.images.snapshots import ALIASES, find_snapshot

DESCRIPTION = """\
Images that a container uses stay, and of another project's snapshot, also of the same name, the newest. A run builds
what it needs again.

Exit codes: 0 done, 2 bad input, 3 no Docker engine answers.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="SNAPSHOT", help="A snapshot; remove only images of these.")
    parser.add_argument("--all", action="store_true", help="Also remove the images that runs would use.")
    add_dry_run(parser, "Show what would be removed; remove nothing.")


def execute(arguments: argparse.Namespace) -> int:
    engine, console = connect(), make_console()
    wanted = {ALIASES.get(name, name) for name in arguments.names}
    images = [image for image in inventory.built(engine) if not wanted or image.snapshot in wanted]
    _refuse_unknown(wanted, images)
    unused = [*reversed(images)] if arguments.all else inventory.stale(engine, images, run_images())
    for image in unused:
        _remove(engine, image, console, dry_run=arguments.dry_run)
    if not unused:
        console.print("Nothing to remove.")
    if not arguments.dry_run:
        forget_removed(engine)
    return ExitCode.PASS


def _refuse_unknown(names: Iterable[str], images: Iterable[Built]) -> None:
    """Raises InputError for a name that is neither that of a snapshot nor that of an image."""
    for name in {*names} - {image.snapshot for image in images}:
        find_snapshot(name, near())


def _remove(engine: Engine, image: Built, console: Console, *, dry_run: bool) -> None:
    what = f"{image.tag or image.name + ' ' + image.digest.removeprefix('sha256:')[:12]} ({decimal(image.size)})"
    if dry_run:
        console.print(f"would remove {what}", soft_wrap=True)
    elif reason := inventory.remove(engine, image):
        console.print(f"kept {what}: {reason}", soft_wrap=True)
    else:
        console.print(f"removed {what}", soft_wrap=True)
