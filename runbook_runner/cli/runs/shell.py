"""Command line: `runbook shell`."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import typer

from runbook_runner.cli.ui.terminal import ends_by_signal, is_terminal, relay
from runbook_runner.core.settings import Settings
from runbook_runner.runner.attach.attach import attach as attach_to_run
from runbook_runner.runner.attach.shell import open_shell_sandbox, shell_request
from runbook_runner.runner.replay.prepare import with_policy
from runbook_runner.runner.request.secrets import load_environment


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
    raise typer.Exit(open_shell(name, command or [], agent=agent, sandbox=sandbox, network=network, env_file=env_file))


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
    raise typer.Exit(open_attached(name, command or [], env_file=env_file))


def open_shell(
    name: str,
    command: Sequence[str],
    *,
    agent: str | None,
    sandbox: str | None,
    network: str | None,
    env_file: Path | None,
) -> int:
    """The command's exit code. Raises RunbookError."""
    settings = Settings.load()
    wanted = shell_request(settings.home, name, agent=agent, backend=sandbox, near=[Path.cwd()])
    if network:
        wanted = replace(wanted, spec=with_policy(wanted.spec, network))
    environ = load_environment(env_file, None)
    at_terminal = is_terminal()
    with ends_by_signal(), open_shell_sandbox(wanted, settings, environ, _report) as opened:
        return relay(opened.attach(command, os.environ, tty=at_terminal), at_terminal=at_terminal)


def open_attached(name: str, command: Sequence[str], *, env_file: Path | None) -> int:
    """The command's exit code. Raises RunbookError."""
    at_terminal = is_terminal()
    attached = attach_to_run(Settings.load(), name, command, load_environment(env_file, None), tty=at_terminal)
    with ends_by_signal():
        return relay(attached, at_terminal=at_terminal)


def _report(line: str) -> None:
    sys.stderr.write(line + "\n")
