"""Command line: `runbook clean`."""

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from runbook_runner.cli.options import add_dry_run, add_env_file, add_json
from runbook_runner.cli.ui.output import put_json
from runbook_runner.core.errors import ExitCode, NotReadyError
from runbook_runner.core.settings import Settings
from runbook_runner.core.text import printable_name
from runbook_runner.runner.hosted.pull import remove_downloads
from runbook_runner.runner.recovery.leftovers import Leftovers
from runbook_runner.runner.recovery.recover import recover_dead
from runbook_runner.runner.request.variables import user_variables
from runbook_runner.sandbox.backends import open_engines
from runbook_runner.trajectory.imports.aside import tidy

DESCRIPTION = """\
A run whose process was killed is finished first: its results are collected and its trajectory says that it was
interrupted. Every `runbook run` does the same before it starts. Live runs are never touched; nor are images
(`runbook snapshots prune`) and trajectories. Runs make no networks and no volumes.

The run that an interrupted import was to replace is put back, and the files of interrupted imports and pulls are
removed: the next pull of the same run begins anew.

Looks at all runs of this user, whichever folder they are recorded in, and at what carries the name of their claims,
which lie in this user's data folder (RUNBOOK_DATA). Nothing else is touched.

Of a run with secrets the results are collected when the same secrets are given, as they are removed from everything
that is recorded: in the environment, in the files that the run took them from, or with --env-file. Until then its
sandbox stays. So does that of a run whose results can't be brought home, such as into a project that was moved.

Exit codes: 0 done, 3 something can't be removed, or others may write to the data folder.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    add_dry_run(parser, "Show what would be removed; remove nothing.")
    parser.add_argument("--kept", action="store_true", help="Also remove what runs with --keep have left.")
    add_env_file(parser, "Take the secrets of interrupted runs from this file.")
    parser.add_argument("--discard", action="store_true", help="Also remove, unseen, results that wait in a sandbox.")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Raises SandboxError when something can't be removed, NotReadyError for a data folder that can't be used."""
    dry_run = bool(arguments.dry_run)
    engines, lacking = open_engines()
    data = Settings.load().data
    runs = recover_dead(
        data,
        engines,
        look_only=dry_run,
        kept_too=arguments.kept,
        variables=user_variables(arguments.env_file),
        discard=arguments.discard,
    )
    try:
        files = [*tidy(data, look_only=dry_run), *remove_downloads(data, look_only=dry_run)]
    except OSError as problem:
        raise NotReadyError(f"The data folder can't be used: {problem.strerror}.", where=str(data)) from problem
    if arguments.json:
        url = next((opened.engine.url for opened in engines.values() if opened.engine), None)
        body = {"dry_run": dry_run, "engine": url, "runs": [_described(run) for run in runs], "files": files}
        put_json(body)
    else:
        for error in lacking:
            sys.stderr.write(f"Containers are not looked at: {error.message}\n")
        lines = [*(line for run in runs for line in _lines(run, dry_run=dry_run)), *map(printable_name, files)]
        sys.stdout.write("\n".join(lines or ["There is nothing to remove."]) + "\n")
    for run in runs:
        if run.problem:
            raise run.problem
    return ExitCode.PASS


def _described(run: Leftovers) -> dict[str, Any]:
    return {
        "trajectory_id": run.run_id,
        "path": run.entry.folder,
        "interrupted": run.claimed,
        "kept": run.entry.kept,
        "containers": run.containers,
        "folders": [str(folder) for folder in run.folders],
    }


def _lines(run: Leftovers, *, dry_run: bool) -> Iterator[str]:
    did = "would remove" if dry_run else "did not remove" if run.problem else "removed"
    of = f"of run {run.run_id}" + (" (kept)" if run.entry.kept else "")
    for container in run.containers:
        yield f"{did} container {container[:12]} {of}"
    for folder in run.folders:
        yield f"{did} folder {folder} {of}"
    if run.claimed:
        yield f"{did} the claim {of}: it was interrupted" + (f", see {run.entry.folder}" if run.entry.folder else "")
