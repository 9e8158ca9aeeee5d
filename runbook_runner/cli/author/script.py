"""Command line: `runbook script`."""

import argparse
from pathlib import Path

from runbook_runner.cli.options import add_force
from runbook_runner.cli.ui.output import put, require_place, tell_written, write_new
from runbook_runner.core.errors import ExitCode
from runbook_runner.core.settings import Settings
from runbook_runner.gateway.replay.index import open_index
from runbook_runner.gateway.script.from_recording import script_from
from runbook_runner.runner.replay.recorded_run import read_recorded_run

DESCRIPTION = "Exit codes: 0 written, 2 the run has no model calls to make a script of."


def declare(parser: argparse.ArgumentParser) -> None:
    trajectory = "A trajectory's id, its folder, or a copy of it."
    parser.add_argument("trajectory", metavar="TRAJECTORY", help=trajectory)
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="Write it to this file instead of stdout.")
    add_force(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError for a file that can't be read or written."""
    if arguments.out is not None:
        require_place(arguments.out, "script", force=arguments.force)
    recorded = read_recorded_run(Settings.load().require_home(), arguments.trajectory)
    recorded.require_model_calls()
    spec = recorded.spec
    where = f"{spec.collection}/{spec.task} {recorded.trajectory_id}"
    head = f"# What {spec.model or 'the model'} answered {spec.agent} in {where}.\n"
    text = head + script_from(open_index(recorded.cassette))
    if arguments.out is None:
        put(text)
    else:
        write_new(arguments.out, text)
        tell_written(arguments.out, f"model script of run {recorded.trajectory_id}")
    return ExitCode.PASS
