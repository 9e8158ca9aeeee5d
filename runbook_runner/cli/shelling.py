"""Command line: what `runbook shell` and `runbook attach` do."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from runbook_runner.cli.terminal import ends_by_signal, is_terminal, relay
from runbook_runner.core.errors import InputError
from runbook_runner.core.settings import Settings
from runbook_runner.runner.attach.attach import join_live
from runbook_runner.runner.attach.shell import Wanted, of_snapshot, of_trajectory, opened
from runbook_runner.runner.replay import with_policy
from runbook_runner.runner.request.secrets import load_environment
from runbook_runner.sandbox.images.snapshots import known_snapshots


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
    wanted = _wanted(name, settings.home, agent, sandbox)
    if network:
        wanted = replace(wanted, spec=with_policy(wanted.spec, network))
    environ = load_environment(env_file, None)
    at_terminal = is_terminal()
    with ends_by_signal(), opened(wanted, settings, environ, _report) as room:
        return relay(room.join(command, os.environ, tty=at_terminal), at_terminal=at_terminal)


def attach(name: str, command: Sequence[str], *, env_file: Path | None) -> int:
    """The command's exit code. Raises RunbookError."""
    at_terminal = is_terminal()
    joined = join_live(Settings.load(), name, command, load_environment(env_file, None), tty=at_terminal)
    with ends_by_signal():
        return relay(joined, at_terminal=at_terminal)


def _wanted(name: str, home: Path, agent: str | None, sandbox: str | None) -> Wanted:
    near = [Path.cwd()]
    if name in known_snapshots(near):
        return of_snapshot(name, agent, sandbox, near)
    if agent:
        raise InputError("--agent goes with a snapshot; a run has its own.", where=name)
    try:
        return of_trajectory(home, name, sandbox)
    except InputError as error:
        if error.message.startswith("There is no trajectory"):
            known = ", ".join(known_snapshots(near))
            hint = f"Known snapshots: {known}. {error.hint}"
            raise InputError(f"There is neither a snapshot nor a trajectory {name!r}.", hint=hint) from error
        raise


def _report(line: str) -> None:
    sys.stderr.write(line + "\n")
