"""Command line: `runbook pull`."""

import argparse
import sys
from functools import partial

from runbook_runner.cli.options import add_json
from runbook_runner.cli.platform.options import ABOUT_ACCESS, add_api, add_max_size
from runbook_runner.cli.ui.console import make_console
from runbook_runner.cli.ui.output import put_json, warn
from runbook_runner.cli.ui.progress import Progress
from runbook_runner.core.errors import ExitCode
from runbook_runner.core.spec import parse_memory
from runbook_runner.core.text import printable_output
from runbook_runner.runner.hosted.pull import Pulled, pull

DESCRIPTION = f"""\
It becomes a trajectory folder like any other: its mission, values, inputs, results and log, with the times of the
original; what the platform sent is kept in `imported/`. Nothing of it is run. A download that was interrupted goes on
where it ended when the same command is given again. {ABOUT_ACCESS}
Exit codes: 0 recorded, 2 bad input (the platform does not have it), 3 the platform refuses it or can't be asked, 5 a
bug, 130 interrupted.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    name = "COLLECTION/TASK/ID, or the address of the run."
    parser.add_argument("name", metavar="RUN", help=name)
    add_api(parser)
    add_max_size(parser)
    parser.add_argument("--replace", action="store_true", help="Replace what was pulled of this run before.")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError, PlatformError and RecordingError."""
    pulled = pulled_run(arguments.name, arguments)
    if arguments.json:
        put_json(described(pulled))
        return ExitCode.PASS
    rerun = f", or: runbook rerun {pulled.run.trajectory_id}" if pulled.can_rerun else ""
    sys.stdout.write(f"Recorded {pulled.run}, {pulled.files} of its files: {pulled.folder}\n")
    sys.stdout.write(f"Next: runbook runs show {pulled.run.trajectory_id}{rerun}\n")
    return ExitCode.PASS


def pulled_run(name: str, arguments: argparse.Namespace, *, reuse: bool = False) -> Pulled:
    """With its progress and notes on stderr. Raises as `pull`."""
    most = parse_memory(arguments.max_size) if arguments.max_size else None
    with Progress(make_console(stderr=True)) as progress:
        tell = partial(progress, detail=True)
        pulled = pull(name, arguments.api, most, tell, replace=arguments.replace, reuse=reuse)
    for note in pulled.notes:
        warn(printable_output(note))
    return pulled


def described(pulled: Pulled) -> dict[str, object]:
    run = pulled.run
    names = {"collection": run.collection, "task": run.task, "trajectory_id": run.trajectory_id}
    told = {"path": str(pulled.folder), "files": pulled.files, "can_rerun": pulled.can_rerun}
    return {**names, **told, "notes": list(pulled.notes)}
