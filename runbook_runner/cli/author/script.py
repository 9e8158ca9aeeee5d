"""Command line: `runbook script`."""

import sys
from pathlib import Path

import typer

from runbook_runner.core.errors import InputError
from runbook_runner.core.files import write_atomically
from runbook_runner.core.settings import Settings
from runbook_runner.gateway.replay.index import open_index
from runbook_runner.gateway.script.from_recording import script_from
from runbook_runner.runner.replay.recorded_run import read_recorded_run

script = typer.Typer(no_args_is_help=True, help="Model scripts: files that answer an agent instead of a provider.")


@script.callback()
def _group() -> None:
    """Keeps `from` a command of its own, though it is the only one."""


@script.command("from")
def from_(
    trajectory: str = typer.Argument(..., metavar="TRAJECTORY", help="A trajectory's id, its folder, or a copy of it."),
    out: Path | None = typer.Option(None, "-o", "--out", metavar="FILE", help="Write it there instead of to stdout."),
) -> None:
    """Turn a recorded run into a model script that you can edit and run with --model-script.

    Exit codes: 0 written, 2 there is nothing to make a script of.
    """
    execute(trajectory, out)


def execute(trajectory: str, out: Path | None) -> None:
    """Raises InputError for what can't be read or written."""
    parent = read_recorded_run(Settings.load().home, trajectory)
    spec = parent.spec
    where = f"{spec.collection}/{spec.task} {parent.trajectory_id}"
    head = f"# What {spec.model or 'the model'} answered {spec.agent} in {where}.\n"
    text = head + script_from(open_index(parent.cassette))
    if out is None:
        sys.stdout.write(text)
        return
    try:
        write_atomically(out, text)
    except OSError as error:
        raise InputError(f"The script can't be written: {error.strerror}.", where=str(out)) from error
