"""Command line: `runbook runs stats`."""

import argparse
import sys
from typing import Any

from runbook_runner.cli.options import add_json
from runbook_runner.cli.records.runs.common import add_filters, filters_of, no_run, told
from runbook_runner.cli.ui.columns import Column, print_columns
from runbook_runner.cli.ui.output import put_json
from runbook_runner.core.errors import ExitCode
from runbook_runner.core.settings import Settings
from runbook_runner.core.text import counted
from runbook_runner.trajectory.index.filters import stats
from runbook_runner.trajectory.index.index import Index, with_index

DESCRIPTION = """\
Of each task: how many runs there are and how they ended, how long they took (mean, median, and what 95 of 100 do not
exceed), tokens, and the money that was paid: answers from model scripts and recordings cost nothing. SUCCESS is how
many of those that ended with PASS, FAIL or ERROR have passed; `runbook runs list --help` says what the words mean. - is
what is not known. Prices that are not known are in no sum; a ? behind it says that there are some.

Exit codes: 0 shown, 2 bad input, 3 RUNBOOK_HOME is not a folder.
"""

_COLUMNS = (
    Column("TASK", shrinks=True),
    Column("RUNS", right=True),
    Column("SUCCESS", right=True),
    Column("PASS", right=True),
    Column("FAIL", right=True),
    Column("ERROR", right=True),
    Column("OTHER", 1, right=True),
    Column("MEAN S", 3, right=True),
    Column("P50 S", 5, right=True),
    Column("P95 S", 4, right=True),
    Column("TOKENS", 3, right=True),
    Column("USD", 2, right=True),
    Column("LAST", 5),
)


def declare(parser: argparse.ArgumentParser) -> None:
    add_filters(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError, NotReadyError."""
    home = Settings.load().require_home(each_run=False)
    filters = filters_of(arguments)
    where, values = filters.sql()

    def of(index: Index) -> tuple[list[dict[str, Any]], str | None]:
        found = stats(index, where, values)
        return found, None if found else filters.hint(index)

    found, hint = with_index(home, of)
    if arguments.json:
        put_json({"tasks": found})
    elif found:
        print_columns(_COLUMNS, [_cells(one) for one in found])
        if provisional := sum(one["provisional"] for one in found):
            told = f"{counted(provisional, 'provisional verdict')} counted like the others"
            sys.stderr.write(f"hint: {told}; `runbook runs list` marks each.\n")
    else:
        sys.stdout.write(f"{hint or no_run(home, is_filtered=where != '1')}\n")
    return ExitCode.PASS


def _cells(one: dict[str, Any]) -> list[str]:
    ended = one["by_outcome"]
    counts = [ended[word] for word in ("pass", "fail", "error")]
    return [
        f"{one['collection']}/{one['task']}",
        f"{one['total']:,}",
        told(one["success_rate"], ".1%"),
        *(f"{count:,}" for count in (*counts, one["total"] - sum(counts))),
        *(told(one[f"{kind}_duration_seconds"], ".1f") for kind in ("avg", "p50", "p95")),
        told(one["total_tokens"], ","),
        told(one["total_cost_usd"], ".4f") + ("?" if one["unknown_cost_runs"] and one["total_cost_usd"] else ""),
        told((one["last_run"] or "")[:16].replace("T", " ")),
    ]
