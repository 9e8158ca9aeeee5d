"""Command line: `runbook shell`."""

from pathlib import Path

import typer


def shell(
    name: str = typer.Argument(..., metavar="SNAPSHOT|TRAJECTORY", help="A snapshot, or a run's id or folder."),
    command: list[str] = typer.Argument(None, metavar="[-- COMMAND...]", help="Run this instead of a shell."),
    agent: str | None = typer.Option(None, help="With a snapshot: with this agent's CLI on top."),
    sandbox: str | None = typer.Option(
        None, help="docker, bubblewrap or host; else as the run had it, and docker for a snapshot."
    ),
    network: str | None = typer.Option(None, metavar="POLICY", help="Another network policy than the run's."),
    env_file: Path | None = typer.Option(None, metavar="FILE", help="Take the run's secrets from here first."),
) -> None:
    """Look around in a sandbox as the agent would find it: its user, its variables, /app with the inputs.

    A fresh one, gone when the shell ends; nothing is recorded, and there is no model in it. Secrets of the run that
    this machine has are in it, as they were for the agent; what is missing is left out.

    Exit codes: the command's own; 2 bad input, 3 this machine is not ready.
    """
    from runbook_runner.cli.shelling import open_shell

    raise typer.Exit(open_shell(name, command or [], agent=agent, sandbox=sandbox, network=network, env_file=env_file))
