"""Command line: `runbook runs logs`."""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from runbook_runner.cli.records.runs.common import add_run, folder_of
from runbook_runner.cli.ui.console import make_console
from runbook_runner.cli.ui.display import Display
from runbook_runner.cli.ui.run_tree import ending
from runbook_runner.core.errors import ExitCode
from runbook_runner.core.events import Recorded
from runbook_runner.core.settings import user_data
from runbook_runner.core.text import printable_output
from runbook_runner.runner.cancellation import Cancellation
from runbook_runner.runner.recovery.claims import is_alive
from runbook_runner.trajectory.store import follow_events, read_events
from runbook_runner.trajectory.summary import reasons_of
from runbook_runner.trajectory.tree import Builder, Tree

DESCRIPTION = """\
The lines are those that the run shows while it runs. With --follow it goes on until the run has ended or its process is
dead. Ctrl-C ends only this command, not the run.

Exit codes: 0 the run has ended, 1 it has not: it goes on, or its process is dead, 2 bad input, 130 interrupted.
"""

_PAUSE_S = 0.1
_LOOK_S = 1.0


def declare(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="Go on as long as the run does.")


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError, NotReadyError."""
    folder = folder_of(arguments.run)
    events = _live(folder) if arguments.follow else read_events(folder)
    try:
        tree = _show(events, is_live=arguments.follow)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the run itself is not\n")
        return ExitCode.INTERRUPTED
    if not tree.finished:
        told = "The run goes on; --follow follows it." if is_alive(user_data(), folder) else _DEAD
        sys.stderr.write(f"{told}\n")
        return ExitCode.VERDICT_FAIL
    return ExitCode.PASS


_DEAD = "The run has no end, and no process of yours runs it; `runbook clean` collects what it has left."


def _show(events: Iterator[Recorded], *, is_live: bool) -> Tree:
    console, builder = make_console(), Builder()
    with Display(console, Cancellation(), has_status=is_live) as display:
        for recorded in events:
            builder.add(recorded)
            display(recorded)
    tree = builder.tree
    if tree.finished:
        console.print(ending(tree), soft_wrap=True)
        for reason in reasons_of(tree):
            console.print(f"  {printable_output(reason)}", style="red", soft_wrap=True)
    return tree


def _live(folder: Path) -> Iterator[Recorded]:
    data, looked = user_data(), time.monotonic() - _LOOK_S
    is_dead = False

    def is_over() -> bool:
        nonlocal looked, is_dead
        if time.monotonic() - looked >= _LOOK_S:
            looked, is_dead = time.monotonic(), not is_alive(data, folder)
        return is_dead

    for recorded in follow_events(folder, is_over):
        if recorded:
            yield recorded
        elif not is_dead:
            time.sleep(_PAUSE_S)
