"""Command line: `runbook reproduce`: pull, rerun and diff in one go."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from rich.text import Text

from runbook_runner.cli.options import OUTPUT, WHAT, add_output
from runbook_runner.cli.platform.options import ABOUT_ACCESS, add_api, add_max_size
from runbook_runner.cli.platform.pull import described as described_pull
from runbook_runner.cli.platform.pull import pulled_run
from runbook_runner.cli.runs.dry_run import print_plan
from runbook_runner.cli.runs.request import request_of
from runbook_runner.cli.runs.rerun import declare_changes, described
from runbook_runner.cli.ui.follow import Followed, ask_on_terminal, console_for, follow, print_briefly
from runbook_runner.cli.ui.output import after_json, put_json, warn
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.settings import Settings
from runbook_runner.core.text import decoded_name, printable_output
from runbook_runner.runner.diff import Diff, diff, read_side
from runbook_runner.runner.hosted.differences import comparable, in_order
from runbook_runner.runner.hosted.pull import Pulled
from runbook_runner.runner.replay.rerun import Rerun, prepare_rerun
from runbook_runner.trajectory.folders import RESULTS

DESCRIPTION = f"""\
Pulls the run (once: what you have pulled from there, and nobody has changed, is not fetched again), runs its spec here
and live, and says "the same", or where the two first differ: in the tool calls, the results, or how they end. What the
platform has not recorded, and what you change with an option, does not count as a difference. The run gets only the
secrets that --secret or --env-file give it. {ABOUT_ACCESS}
Exit codes: 0 the same, 1 they differ, 2 bad input (the platform does not have it, an input is missing), 3 the platform
refuses it, or this machine is not ready (a secret or a key is missing), 4 the agent failed here, 5 a bug, 130
interrupted.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="RUN", help="COLLECTION/TASK/ID, or the address of the run.")
    group = parser.add_argument_group(WHAT)
    add_api(group)
    add_max_size(group)
    group.add_argument("--replace", action="store_true", help="Pull it again, in the place of what is here of it.")
    declare_changes(parser)
    add_output(parser.add_argument_group(OUTPUT))


def execute(arguments: argparse.Namespace) -> int:
    """Raises RunbookError for what was wrong before the run started."""
    pulled = _pulled(arguments)
    request = replace(request_of(arguments), document=str(pulled.folder))
    ready = prepare_rerun(request, None if arguments.dry_run else ask_on_terminal())
    for change in ready.changes:
        warn(printable_output(str(change)))
    if arguments.dry_run:
        print_plan(ready.prepared, as_json=arguments.json)
        with after_json():
            ready.prepared.require_ready()
        return ExitCode.PASS
    console = console_for(quiet=arguments.quiet, json=arguments.json)
    followed = follow(ready.prepared, console)
    home = Settings.load().require_home()
    found = comparable(diff(read_side(home, str(pulled.folder)), read_side(home, str(followed.outcome.folder))))
    differences = list(in_order(found))
    code = _code(followed, differences)
    if console:
        for line in _lines(pulled, followed, found, differences):
            console.print(line, soft_wrap=True)
    if arguments.quiet:
        print_briefly(followed, f"It first differs from {pulled.run} in {differences[0]}" if differences else None)
    if arguments.json:
        put_json(_json(pulled, ready, followed, differences))
    with after_json():
        followed.require_copied()
    return code


def _pulled(arguments: argparse.Namespace) -> Pulled:
    """Raises InputError for a run that can't be run here."""
    pulled = pulled_run(arguments.path, arguments, reuse=not arguments.replace)
    if not pulled.can_rerun:
        hint = f"It was pulled: `runbook runs show {pulled.run.trajectory_id}` shows it. --replace pulls it again."
        raise InputError(f"The run {pulled.run} can't be run here.", where=str(pulled.folder), hint=hint)
    return pulled


def _code(followed: Followed, differences: list[str]) -> ExitCode:
    if followed.exit_code == ExitCode.INTERRUPTED or not differences:
        return followed.exit_code if followed.exit_code == ExitCode.INTERRUPTED else ExitCode.PASS
    return followed.exit_code if followed.outcome.error else ExitCode.VERDICT_FAIL


def _lines(pulled: Pulled, followed: Followed, found: Diff, differences: list[str]) -> Iterator[Text]:
    local = followed.outcome.trajectory.trajectory_id
    if not differences:
        yield Text(f"✓ {local} is the same as {pulled.run}.", style="bold green")
    else:
        yield Text(
            f"✗ {local} first differs from {pulled.run} in {printable_output(differences[0])}.", style="bold red"
        )
        diffs = {f"{RESULTS}/{decoded_name(path)}": text for path, text in found.results.diffs}
        text = printable_output(diffs.get(differences[0], ""))
        yield from (Text(f"  {line}", style="dim") for line in text.splitlines())
        yield from (Text(f"✗ {printable_output(one)}", style="red") for one in differences[1:10])
        if len(differences) > 10:
            yield Text(f"  … {len(differences) - 10} more", style="dim")
    if not (found.calls and found.calls.one):
        yield Text("  The platform has recorded no tool calls: they were not compared.", style="dim")
    yield Text(f"Next: runbook diff {pulled.run} {local}")


def _json(pulled: Pulled, ready: Rerun, followed: Followed, differences: list[str]) -> dict[str, Any]:
    return {
        **followed.json(),
        "same": not differences,
        "first_difference": differences[0] if differences else None,
        "differences": differences,
        "pulled": described_pull(pulled),
        "changes": [described(change) for change in ready.changes],
    }
