"""Command line: `runbook runs list`."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from runbook_runner.cli.options import add_json
from runbook_runner.cli.records.runs.common import add_filters, filters_of, no_run, row_json, told
from runbook_runner.cli.ui.columns import Column, print_columns
from runbook_runner.cli.ui.output import put_json
from runbook_runner.core.errors import ExitCode, InputError, NotReadyError
from runbook_runner.core.settings import Settings, user_data
from runbook_runner.core.text import counted
from runbook_runner.trajectory.folders import TRAJECTORIES
from runbook_runner.trajectory.index.filters import SORTS, order_by
from runbook_runner.trajectory.index.index import Index, with_index
from runbook_runner.trajectory.index.rows import Row, read_row
from runbook_runner.trajectory.outcome import ABOUT, outcome_told

DESCRIPTION = f"""\
The latest first, times in UTC. How it ended is one word, the same as in the summary of a run, in pages and in
`runbook runs stats`:

{ABOUT}
With --json and for --outcome a DEAD run is `running`, and its `alive` is false; `runbook clean` finishes it. The status
is how the run itself went (completed, failed, cancelled, …) and the verdict what its evaluation found, both as in
trajectory.json; an import that says nothing of its end has the status unknown. FROM is what a run repeats or goes on
from: another run, or, of an import, what was imported; or it says that the run came with this folder, as with a clone:
you have neither made nor imported it on this machine. Such a run is never @last, and prune leaves it alone. USD is what
was paid, as in `runbook cost`: answers from model scripts and recordings cost nothing. - is what is not known. An index
in your data folder (RUNBOOK_DATA) makes lists fast; it is brought up to date at each use, and `runbook runs reindex`
makes it anew.

Exit codes: 0 shown, 2 bad input, 3 RUNBOOK_HOME is not a folder.
"""

_LIMIT = 20
_MOST = 100_000
_COLUMNS = (
    Column("ID"),
    Column("OUTCOME"),
    Column("TASK", shrinks=True),
    Column("CREATED", 1),
    Column("SECONDS", 2, right=True),
    Column("USD", 3, right=True),
    Column("FROM", 7, shrinks=True),
    Column("PARAMETERS", 9, shrinks=True),
    Column("SCORE", 8, right=True),
    Column("AGENT", 4, shrinks=True),
    Column("MODEL", 5, shrinks=True),
    Column("TOKENS", 6, right=True),
    Column("LABELS", 10, shrinks=True),
)
_SORTED = {"created": "CREATED", "seconds": "SECONDS", "cost": "USD", "tokens": "TOKENS", "score": "SCORE"}
"""The column that stays where the terminal is narrow, by what the list is sorted by."""
_RARE = 7
"""The least rank of columns that most runs have nothing in."""
_STYLES = {
    "pass": "good",
    "fail": "bad",
    "error": "bad",
    "cancelled": "busy",
    "running": "busy",
    "dead": "bad",
    "damaged": "bad",
    "archived": "faint",
}


def declare(parser: argparse.ArgumentParser) -> None:
    add_filters(parser)
    sort = f"What to sort by, the greatest first: {', '.join(SORTS)} (default: created)."
    parser.add_argument("--sort", choices=tuple(SORTS), default="created", metavar="KEY", help=sort)
    parser.add_argument("--reverse", action="store_true", help="The least first.")
    parser.add_argument("-n", "--limit", type=int, default=_LIMIT, metavar="N", help=f"So many (default: {_LIMIT}).")
    parser.add_argument("--page", type=int, default=1, metavar="N", help="Which page of so many (default: 1).")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError, NotReadyError."""
    for option, number in (("--limit", arguments.limit), ("--page", arguments.page)):
        if not 1 <= number <= _MOST:
            raise InputError(f"This is a number from 1 to {_MOST:,}.", where=option)
    home = Settings.load().require_home(each_run=False)
    filters = filters_of(arguments)
    where, values = filters.sql()
    order = order_by(arguments.sort, reverse=arguments.reverse)
    first = (arguments.page - 1) * arguments.limit

    def found(index: Index) -> tuple[list[tuple[Row, dict[str, str]]], int, str | None]:
        rows = index.rows(where, values, order, arguments.limit, first)
        total = index.count(where, values)
        return [(row, index.labels(row)) for row in rows], total, None if total else filters.hint(index)

    rows, total, hint = with_index(home, found)
    more = first + len(rows) < total
    dead = _dead(home, [row for row, _ in rows if row.status == "running"])
    if arguments.json:
        runs = [{**row_json(home, row), "labels": labels, "alive": _alive(row, dead)} for row, labels in rows]
        page = {"total": total, "page": arguments.page, "limit": arguments.limit, "has_more": more}
        put_json({"runs": runs, **page})
        return ExitCode.PASS
    if rows:
        columns = [
            replace(column, rank=0) if column.title == _SORTED.get(arguments.sort) else column for column in _COLUMNS
        ]
        shown_rows = [(row._replace(outcome="dead") if row.folder in dead else row, labels) for row, labels in rows]
        _print(columns, [_cells(*one) for one in shown_rows], [_style(row) for row, _ in shown_rows])
    for row, _ in rows:
        if row.problem:
            sys.stderr.write(f"warning: {row.id} can't be read: {row.problem}\n")
    if others := sum(not row.is_own for row, _ in rows):
        came = f"{counted(others, 'run')} of these came with this folder"
        left = "@last and `runbook runs prune` leave them out; `runbook import FOLDER` makes one yours"
        sys.stderr.write(f"hint: {came}: {left}.\n")
    if dead:
        sys.stderr.write(
            "hint: No process of yours runs the dead runs; `runbook clean` collects what they have left.\n"
        )
    if not total:
        sys.stdout.write(f"{hint or no_run(home, is_filtered=where != '1')}\n")
    elif not rows:
        pages = -(-total // arguments.limit)
        sys.stdout.write(
            f"There is no page {arguments.page:,}: {counted(total, 'run')} are {counted(pages, 'page')}.\n"
        )
    elif len(rows) < total:
        shown = f"{first + 1:,} to {first + len(rows):,} of {total:,}"
        sys.stdout.write(shown + (f"; --page {arguments.page + 1} shows more\n" if more else "\n"))
    return ExitCode.PASS


def _print(columns: Sequence[Column], cells: list[list[str]], styles: list[str | None]) -> None:
    """Without the columns in which no run has anything."""
    kept = [n for n, column in enumerate(columns) if column.rank < _RARE or any(row[n].strip("-") for row in cells)]
    print_columns([columns[n] for n in kept], [[row[n] for n in kept] for row in cells], styles)


def _dead(home: Path, running: list[Row]) -> set[str]:
    """Folders of those that no process of this user runs. Who runs what is read only where a run may be dead."""
    if not running:
        return set()
    from runbook_runner.runner.recovery.claims import live_folders  # slow: most lists have no such run

    top = str(home / TRAJECTORIES)
    try:
        live = live_folders(user_data())
    except NotReadyError:
        return set()
    doubtful = [row.folder for row in running if os.path.realpath(f"{top}/{row.folder}") not in live]
    again = [read_row(top, folder) for folder in doubtful]  # it may have ended since the row was read
    return {read.row.folder for read in again if read and read.row.status == "running"}


def _alive(row: Row, dead: set[str]) -> bool | None:
    """`None`: the run is over."""
    return row.folder not in dead if row.status == "running" else None


def _style(row: Row) -> str | None:
    return _STYLES.get(row.outcome)


def _cells(row: Row, labels: dict[str, str]) -> list[str]:
    return [
        row.id,
        outcome_told(row.outcome, provisional=bool(row.is_provisional)),
        f"{row.collection}/{row.task}",
        told((row.created or "")[:16].replace("T", " ")),
        told(row.seconds, ".1f"),
        told(row.cost_usd, ".4f"),
        _from(row),
        row.params,
        told(row.score, ".2f"),
        told(row.agent),
        told(row.model),
        told(row.tokens, ","),
        " ".join(f"{key}={value}" for key, value in labels.items()),
    ]


def _from(row: Row) -> str:
    if not row.is_own:
        return "came with this folder"
    return "" if row.kind == "run" else f"{row.kind} of {row.of or 'a recording'}"
