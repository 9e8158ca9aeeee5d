"""Command line: `runbook runs stats`."""

import argparse
import sys
from typing import Any

from runbook_runner.cli.options import add_json
from runbook_runner.cli.records.runs.common import add_filters, filters_of
from runbook_runner.cli.ui.columns import Column, print_columns
from runbook_runner.cli.ui.output import put_json
from runbook_runner.core.errors import ExitCode
from runbook_runner.core.settings import Settings
from runbook_runner.trajectory.index.filters import stats
from runbook_runner.trajectory.index.index import with_index

DESCRIPTION = """\
Of each task: how many runs there are and how they ended, how long they took (mean, median, and what 95 of 100 do not
exceed), tokens and money. The success rate is that of the runs that completed or failed. Prices that are not known are
in no sum; a ? behind it says that there are some.

Exit codes: 0 shown, 2 bad input, 3 RUNBOOK_HOME is not a folder.
"""

_COLUMNS = (
    Column("TASK", shrinks=True),
    Column("RUNS", right=True),
    Column("SUCCESS", right=True),
    Column("FAILED", 1, right=True),
    Column("RUNNING", 5, right=True),
    Column("MEAN S", 2, right=True),
    Column("P50 S", 4, right=True),
    Column("P95 S", 3, right=True),
    Column("TOKENS", 2, right=True),
    Column("USD", 1, right=True),
    Column("LAST", 4),
)


def declare(parser: argparse.ArgumentParser) -> None:
    add_filters(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError, NotReadyError."""
    home = Settings.load().require_home(each_run=False)
    where, values = filters_of(arguments).sql()
    found = with_index(home, lambda index: stats(index, where, values))
    if arguments.json:
        put_json({"tasks": found})
    elif found:
        print_columns(_COLUMNS, [_cells(one) for one in found])
    else:
        sys.stdout.write(f"No run is like that in {home}.\n")
    return ExitCode.PASS


def _cells(one: dict[str, Any]) -> list[str]:
    rate, status = one["success_rate"], one["by_status"]
    times = (one[f"{kind}_duration_seconds"] for kind in ("avg", "p50", "p95"))
    return [
        f"{one['collection']}/{one['task']}",
        f"{one['total']:,}",
        "" if rate is None else f"{rate:.1%}",
        f"{status['failed']:,}",
        f"{status['running']:,}",
        *("" if time is None else f"{time:.1f}" for time in times),
        f"{one['total_tokens']:,}",
        f"{one['total_cost_usd']:.4f}" + ("?" if one["unknown_cost_runs"] else ""),
        (one["last_run"] or "")[:16].replace("T", " "),
    ]
