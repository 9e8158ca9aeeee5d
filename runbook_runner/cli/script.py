"""Command line: `runbook script`."""

from pathlib import Path

import typer

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
    from runbook_runner.cli.scripting import execute

    execute(trajectory, out)
