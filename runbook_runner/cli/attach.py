"""Command line: `runbook attach`."""

from pathlib import Path

import typer


def attach(
    name: str = typer.Argument(..., metavar="TRAJECTORY", help="The id or folder of a run."),
    command: list[str] = typer.Argument(None, metavar="[-- COMMAND...]", help="Run this instead of a shell."),
    env_file: Path | None = typer.Option(None, metavar="FILE", help="Take the run's secrets from here first."),
) -> None:
    """A shell in the sandbox of a run that is under way, or that was run with --keep.

    The run goes on beside it, and takes the shell along when it ends. What you change there, the agent sees. In a
    container you see the agent's processes too; with bubblewrap you share its files and limits and have your own
    processes, network included.

    Exit codes: the command's own; 2 bad input, 3 the run has ended or this machine is not ready.
    """
    from runbook_runner.cli.shelling import attach

    raise typer.Exit(attach(name, command or [], env_file=env_file))
