"""Command line: `runbook runs prune`."""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from runbook_runner.cli.options import add_dry_run, add_json
from runbook_runner.cli.records.runs.common import add_filters, filters_of, row_json
from runbook_runner.cli.ui.output import put_json, warn
from runbook_runner.core.clock import moment, now_iso, seconds_between
from runbook_runner.core.errors import ExitCode, InputError, RunbookError
from runbook_runner.core.files import is_link
from runbook_runner.core.formats.ages import EXAMPLES, moment_of
from runbook_runner.core.settings import Settings
from runbook_runner.core.text import counted, printable_name, size_shown
from runbook_runner.runner.recovery.claims import is_alive
from runbook_runner.runner.recovery.removal import doubt_about_end, remove_rest, remove_run, size_of
from runbook_runner.trajectory.folders import TRAJECTORIES
from runbook_runner.trajectory.index.index import Index, with_index
from runbook_runner.trajectory.index.rows import Row

DESCRIPTION = """\
The latest runs stay: --keep so many of each task, --older-than those of that time, --max-size as many of all as have
room. A run is removed when one of the given rules says so, and each is named with its age and size. Only your own runs
count, those that you have made or imported on this machine: what came with the folder, as with a clone, stays, and so
does what the options under "Which runs" leave out. Live runs, runs whose end is not recorded, and runs that can't be
read are never removed.

Exit codes: 0 done, 2 bad input, 3 something can't be removed.
"""

_SIZE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*([KMGT]?)i?B?", re.IGNORECASE)
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_ALL = 1 << 40


def declare(parser: argparse.ArgumentParser) -> None:
    rules = parser.add_argument_group("What is removed")
    rules.add_argument("--keep", type=int, metavar="N", help="All but the latest so many of each task.")
    rules.add_argument("--older-than", metavar="DATE|AGE", help=f"What was created before that: {EXAMPLES}.")
    rules.add_argument("--max-size", metavar="SIZE", help="The oldest, until all take no more than that: 500M, 10G.")
    add_filters(parser)
    add_dry_run(parser, "Show what would be removed; remove nothing.")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError, NotReadyError, and the error of the last run that could not be removed."""
    if arguments.keep is None and arguments.older_than is None and arguments.max_size is None:
        raise InputError("Say what is to be removed.", hint="Give --keep, --older-than or --max-size.")
    if arguments.keep is not None and arguments.keep < 0:
        raise InputError("This is a number of runs, 0 or more.", where="--keep")
    settings = Settings.load()
    chosen = _chosen(arguments, settings, settings.require_home() / TRAJECTORIES)
    removed, freed, problem = list[dict[str, Any]](), 0, None
    did = "would remove" if arguments.dry_run else "removed"
    for folder, row in chosen:
        size = size_of(folder)
        try:
            if not arguments.dry_run:
                remove_run(settings.data, folder)
        except RunbookError as error:
            warn(str(error))
            problem = error
            continue
        removed.append({**row_json(settings.home, row), "bytes": size})
        freed += size
        if not arguments.json:
            sys.stdout.write(f"{did} {row.folder} {row.outcome.upper()} · {_age(row)} · {size_shown(size)}\n")
    if not arguments.dry_run:
        remove_rest({folder.parent for folder, _ in chosen})
    if arguments.json:
        paths = [run["path"] for run in removed]
        put_json({"dry_run": arguments.dry_run, "removed": paths, "runs": removed, "bytes": freed})
    else:
        sys.stdout.write(f"{did} {counted(len(removed), 'run')}, {size_shown(freed)}\n")
    return problem.exit_code if problem else ExitCode.PASS


def _age(row: Row) -> str:
    seconds = max(0.0, seconds_between(moment(row.created) or now_iso(), now_iso()))
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{counted(int(seconds / length), unit)} old"
    return "new"


def _chosen(arguments: argparse.Namespace, settings: Settings, top: Path) -> list[tuple[Path, Row]]:
    """The oldest first."""
    filters = filters_of(arguments)
    where, values = filters.sql()
    oldest = moment_of(arguments.older_than, "--older-than") if arguments.older_than else ""
    most = _bytes(arguments.max_size) if arguments.max_size else None

    def found(index: Index) -> tuple[list[Row], int, str | None]:
        rows = index.rows(f"is_own = 1 AND {where}", values, "dated DESC, folder DESC", _ALL)
        others = index.count(f"is_own = 0 AND {where}", values)
        return rows, others, None if rows or others else filters.hint(index)

    rows, others, hint = with_index(settings.home, found)
    if hint:
        warn(printable_name(hint))
    if others:
        came = f"{counted(others, 'run')} came with this folder and {'stay' if others > 1 else 'stays'}"
        sys.stderr.write(f"hint: {came}: `runbook runs rm` removes one, and `runbook import FOLDER` makes it yours.\n")
    chosen, of_task, size = list[tuple[Path, Row]](), dict[str, int](), 0
    for row in rows:
        folder, task = top / row.folder, f"{row.collection}/{row.task}"
        of_task[task] = of_task.get(task, 0) + 1
        size += size_of(folder) if most is not None else 0
        goes = (arguments.keep is not None and of_task[task] > arguments.keep) or (most is not None and size > most)
        goes = goes or bool(row.created and row.created < oldest)
        if not goes or is_link(folder) or is_alive(settings.data, folder):
            continue
        if doubt := doubt_about_end(settings.data, folder, row):
            warn(f"{row.id} stays: {doubt}; `runbook runs rm --force {row.id}` removes it")
        elif _is_time(row.created):
            chosen.append((folder, row))
    return chosen[::-1]


def _is_time(text: str | None) -> bool:
    """A run whose age is not known is none of the oldest."""
    return moment(text) is not None


def _bytes(text: str) -> float:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InputError(f"{text!r} is not a size.", where="--max-size", hint="Write it like 500M or 10G.")
    return float(match[1]) * (1 << _UNITS[match[2].upper()])
