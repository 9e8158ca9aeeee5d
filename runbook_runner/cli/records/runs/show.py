"""Command line: `runbook runs show`."""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from runbook_runner.cli.options import add_json
from runbook_runner.cli.records.runs.common import add_run, folder_of
from runbook_runner.cli.ui.output import put, put_json
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.events import Recorded
from runbook_runner.core.settings import user_data
from runbook_runner.core.text import counted, printable_name
from runbook_runner.trajectory.index.own_runs import note_of
from runbook_runner.trajectory.overlay import Overlay, overlay_as_far_as_known
from runbook_runner.trajectory.store import read_events
from runbook_runner.trajectory.tree import events_of_step, tree_of

DESCRIPTION = """\
The tree has the phases, and in them what the agent said and did, each step with its number; subagents below the tool
call that started them; model calls with their tokens and cost; checks; then the verdict with its reasons and the
results. Of a very long run it has the first 5,000 entries, and says how many there are beside them.

Exit codes: 0 shown, 2 bad input (no such run, no such step).
"""

_PIPE_WIDTH = 160
_TYPE_WIDTH = 18


def declare(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--step", type=int, metavar="N", help="Show step N of the tree, with all that was said.")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--events", action="store_true", help="Show the events one after another, each on a line.")
    form.add_argument("--raw", action="store_true", help="Print the events as they are recorded, as lines of JSON.")
    add_json(parser, "Print the tree as one JSON object on stdout.")


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError."""
    if arguments.json and (arguments.events or arguments.raw):
        raise InputError("--json prints the tree, which --events and --raw don't show.", hint="Leave one of them out.")
    folder = folder_of(arguments.run)
    events: Iterable[Recorded] = read_events(folder)
    if arguments.step is not None:
        events = _step(events, arguments.step, folder)
    if arguments.raw:
        for recorded in events:
            put(recorded.line() + "\n")
    elif arguments.events:
        _print_events(events)
    else:
        is_own = note_of(folder, user_data()) is not None
        _print_tree(events, arguments, overlay_as_far_as_known(folder), is_own=is_own)
    return ExitCode.PASS


def _step(events: Iterable[Recorded], number: int, folder: Path) -> list[Recorded]:
    found = events_of_step(events, number) if number > 0 else []
    if not found:
        steps = tree_of(read_events(folder)).steps
        raise InputError(f"This run has no step {number}: it has {counted(steps, 'step')}.", where=str(folder))
    return found


def _print_events(events: Iterable[Recorded]) -> None:
    width = _width()
    for recorded in events:
        body = recorded.event.model_dump(mode="json", exclude_defaults=True)
        kind = str(body.pop("type", getattr(recorded.event, "type", "")))
        said = " ".join(f"{key}={_value(value)}" for key, value in body.items())
        line = f"{recorded.seq:>6} {recorded.ts[11:23]} {kind:<{_TYPE_WIDTH}} {said}"
        line = printable_name(line[: 4 * width])
        sys.stdout.write((line if len(line) <= width else f"{line[: width - 1]}…").rstrip() + "\n")


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _width() -> int:
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPE_WIDTH


def _print_tree(events: Iterable[Recorded], arguments: argparse.Namespace, overlay: Overlay, *, is_own: bool) -> None:
    from runbook_runner.cli.ui.console import make_console  # rich is slow to import, and --raw does without
    from runbook_runner.cli.ui.run_tree import lines_of, node_json, step_lines, tree_json

    tree = tree_of(events)
    if arguments.step is not None:
        (_, node), *_ = tree.walk()
        node.step = arguments.step
        if arguments.json:
            put_json(node_json(node))
            return
        lines, is_cut = step_lines(node), False
    elif arguments.json:
        put_json({**tree_json(tree, overlay), "own": is_own})
        return
    else:
        lines, is_cut = lines_of(tree, overlay, is_own=is_own), True
    console = make_console()
    if not console.file.isatty():
        console.width = _PIPE_WIDTH
    for line in lines:
        if is_cut and line.no_wrap is not False:
            console.print(line, no_wrap=True, overflow="ellipsis")
        else:
            console.print(line, soft_wrap=not (is_cut and console.file.isatty()))
