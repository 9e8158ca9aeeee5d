"""Command line: `runbook rerun`."""

import argparse
from pathlib import Path

from rich.text import Text

from runbook_runner.cli.options import (
    HOW,
    MODEL,
    OUTPUT,
    REPEATED,
    add_dry_run,
    add_env_file,
    add_keep,
    add_output,
    add_secrets,
    add_trust,
)
from runbook_runner.cli.runs.dry_run import print_plan
from runbook_runner.cli.runs.request import request_of
from runbook_runner.cli.runs.run_options import add_judge
from runbook_runner.cli.ui.follow import ask_on_terminal, console_for, follow, print_briefly
from runbook_runner.cli.ui.output import after_json, put_json, warn
from runbook_runner.core.errors import ExitCode
from runbook_runner.core.text import printable_output
from runbook_runner.runner.replay.rerun import Change, prepare_rerun

DESCRIPTION = """\
Nothing is answered from the recording: the provider is asked, which costs money. Options take the place of what was
recorded; each such change is shown, and so is what the project's bounds change. The run gets only the secrets that
--secret or --env-file give it.

Exit codes: 0 passed, 1 the verdict is fail, 2 bad input (an input is missing), 3 this machine is not ready (a secret or
a key is missing), 4 the agent failed or ran out of time, 5 a bug, 130 interrupted.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    name = "A run: its id, the beginning of it, @last, @last-failed, or its folder."
    parser.add_argument("path", metavar="TRAJECTORY", help=name)
    declare_changes(parser)
    add_output(parser.add_argument_group(OUTPUT))


def declare_changes(parser: argparse.ArgumentParser) -> None:
    """What takes the place of what was recorded, and how it is run."""
    group = parser.add_argument_group(MODEL)
    add = group.add_argument
    add("--agent", help="Another agent.")
    add("--model", help="Another model.")
    add("--provider", help="Another provider.")
    add("--model-script", type=Path, metavar="FILE", help="Answer the agent's model calls from this YAML script.")
    add_judge(group)
    add("--max-cost", dest="max_cost_usd", type=float, metavar="USD", help="Refuse further model calls at this cost.")
    add("--max-tokens", type=int, metavar="N", help="Refuse further model calls after so many tokens.")
    add("--max-calls", type=int, metavar="N", help="Refuse further model calls after so many.")
    group = parser.add_argument_group(HOW)
    add = group.add_argument
    values = "Another value of a parameter, of a run that was pulled from a platform; may be repeated."
    add("-p", "--param", dest="parameters", **REPEATED, metavar="NAME=VALUE", help=values)
    add("--sandbox", help="auto, docker, bubblewrap or host (default: the recorded one, but never host).")
    add("--snapshot", help="Another sandbox preset.")
    add("--image", help="Another container image.")
    add("--network", metavar="POLICY", help="Another network policy: full, allowlist, model-only or none.")
    add("--allow-host", dest="allow_hosts", **REPEATED, metavar="HOST", help="A further host of the allowlist.")
    add("--timeout", dest="timeout_s", type=float, metavar="SECONDS", help="Another time limit of the agent.")
    add("--cpus", type=float, metavar="CORES", help="Other cores.")
    add("--memory", metavar="SIZE", help="Other memory, such as 512M or 8G.")
    add_secrets(group)
    add_env_file(group, "Take secrets and provider keys from this file.")
    add_trust(group)
    add_keep(group)
    add_dry_run(group, "Show what would run and what it does otherwise than recorded, and start nothing.")


def execute(arguments: argparse.Namespace) -> int:
    """Runs and reports; the exit code. Raises RunbookError for what was wrong before anything started."""
    ready = prepare_rerun(request_of(arguments), None if arguments.dry_run else ask_on_terminal())
    if arguments.dry_run:
        for change in ready.changes:
            warn(printable_output(str(change)))
        print_plan(ready.prepared, as_json=arguments.json)
        with after_json():
            ready.prepared.require_ready()
        return ExitCode.PASS
    console = console_for(quiet=arguments.quiet, json=arguments.json)
    if console:
        about = f"Runs {ready.recorded.trajectory_id} again" + ("" if ready.changes else ", as it was recorded")
        console.print(Text(f"{about}.", style="bold"), soft_wrap=True)
        for change in ready.changes:
            console.print(Text(f"! {printable_output(str(change))}", style="yellow"), soft_wrap=True)
    followed = follow(ready.prepared, console)
    if console and not arguments.json:
        from runbook_runner.cli.ui.display import print_next

        shown, recorded = followed.outcome.trajectory.trajectory_id, ready.recorded
        print_next(console, shown, has_files=bool(followed.outcome.outputs.results_files), than=recorded.told)
    if arguments.quiet:
        print_briefly(followed, followed.problem())
    if arguments.json:
        told = {"rerun_of": ready.recorded.trajectory_id, "changes": [described(one) for one in ready.changes]}
        put_json({**followed.json(), **told})
    with after_json():
        followed.require_copied()
    return followed.exit_code


def described(change: Change) -> dict[str, object]:
    return change._asdict()
