"""Command line, records: the argument that names a run, and the options that choose among runs."""

import argparse
import os
from pathlib import Path
from typing import Any

from runbook_runner.cli.options import REPEATED
from runbook_runner.core.errors import InputError
from runbook_runner.core.files import is_folder
from runbook_runner.core.formats.ages import EXAMPLES
from runbook_runner.core.settings import Settings
from runbook_runner.core.text import decoded_name
from runbook_runner.trajectory.folders import TRAJECTORIES
from runbook_runner.trajectory.index.filters import Filters
from runbook_runner.trajectory.index.names import find_folder
from runbook_runner.trajectory.index.rows import Row, read_row
from runbook_runner.trajectory.outcome import FAILED, OUTCOMES, STATUSES

RUN_HELP = (
    "A run: its id, the beginning of it, its trajectory folder, @last, or @last-failed: the last that ended with FAIL, "
    "ERROR or CANCELLED. A path that begins with @ is written ./@NAME."
)


def add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="ID", help=RUN_HELP)


def folder_of(name: str) -> Path:
    """Raises InputError, NotReadyError."""
    return find_folder(Settings.load().require_home(), name)


def add_filters(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Which runs")
    for option, name, metavar, text in (
        ("--outcome", "outcomes", "OUTCOME", f"That ended so: {', '.join(OUTCOMES)}; failed: {', '.join(FAILED)}."),
        ("--status", "statuses", "STATUS", f"Of this status in trajectory.json: {', '.join(STATUSES)}."),
        ("--verdict", "verdicts", "pass|fail|none", "Of this verdict; none: it was not evaluated."),
        ("--task", "tasks", "TASK", "Of this task, or COLLECTION/TASK; * stands for any characters."),
        ("--label", "labels", "KEY[=VALUE]", "With this label; of several, with all of them."),
        ("--without-label", "without", "KEY[=VALUE]", "Without this label; of several, with none of them."),
        ("--agent", "agents", "NAME", "Of this agent; * stands for any characters."),
        ("--model", "models", "NAME", "Of this model; * stands for any characters."),
    ):
        group.add_argument(option, dest=name, **REPEATED, metavar=metavar, help=f"{text} May be repeated.")
    own = "Only what you have made or imported on this machine: not what came with the folder, as with a clone."
    group.add_argument("--own", action="store_true", help=own)
    group.add_argument("--score", metavar="SCORE", help="Whose judge's mean score is so: 4, '>=4', '<3.5'.")
    when = f"{EXAMPLES}."
    group.add_argument("--since", metavar="DATE|AGE", help=f"Created since then: {when}")
    group.add_argument("--before", metavar="DATE|AGE", help=f"Created before then: {when}")


def filters_of(arguments: argparse.Namespace) -> Filters:
    several = ("outcomes", "statuses", "verdicts", "tasks", "labels", "without", "agents", "models")
    given: dict[str, Any] = {name: tuple(getattr(arguments, name)) for name in several}
    one = ("score", "since", "before", "own")
    return Filters(**given, **{name: getattr(arguments, name) for name in one})


def no_run(home: Path, *, is_filtered: bool) -> str:
    """Why a list is empty."""
    if os.environ.get("RUNBOOK_HOME") and not is_folder(home):
        return f"RUNBOOK_HOME is {home}, and there is no such folder."
    return f"No run is like that in {home}." if is_filtered else f"No run is recorded in {home}."


def require_no_end(folder: Path) -> None:
    """Raises InputError for a run that is over, which says how."""
    read = read_row(str(folder.parents[2]), "/".join(folder.parts[-3:]))
    if read and read.row.status not in ("running", "pending", None):
        when = f", {read.row.updated[:19].replace('T', ' ')} UTC" if read.row.updated else ""
        raise InputError(f"Run {folder.name} has ended already: {read.row.outcome.upper()}{when}.")


def told(value: float | str | None, form: str = "") -> str:
    """For a cell of a table: `-` is what is not known, and 0 is 0."""
    return "-" if value is None or value == "" else format(value, form)


def row_json(home: Path, row: Row) -> dict[str, Any]:
    return {
        "trajectory_id": row.id,
        "collection": row.collection,
        "task": row.task,
        "outcome": row.outcome,
        "status": row.status,
        "verdict": row.verdict,
        "provisional": bool(row.is_provisional),
        "score": row.score,
        "kind": row.kind,
        "of": row.of,
        "own": bool(row.is_own),
        "parameters": row.params,
        "agent": row.agent,
        "model": row.model,
        "created": row.created,
        "updated": row.updated,
        "duration_seconds": row.seconds,
        "total_tokens": row.tokens,
        "cost_usd": row.cost_usd,
        "error": row.error,
        "problem": row.problem,
        "path": decoded_name(str(home / TRAJECTORIES / row.folder)),
    }
