"""Command line: `runbook cost`."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from runbook_runner.cli.options import add_json
from runbook_runner.cli.ui.output import put_json, warn
from runbook_runner.core.errors import ExitCode
from runbook_runner.core.formats.ages import EXAMPLES, moment_of
from runbook_runner.core.settings import PRICES_VARIABLE, Settings
from runbook_runner.core.text import counted
from runbook_runner.trajectory.cost import Total, runs, summed, totals

DESCRIPTION = """\
Only calls that a provider answered count, not answers from model scripts and recordings. A price that is not known is
shown as unknown, never as zero. A run's cost is recorded while it runs, by the prices of that day and those in the file
that RUNBOOK_PRICES names.

Exit codes: 0 shown, 2 bad input, 3 RUNBOOK_HOME is not a folder.
"""

_GROUPS = ("model", "task", "day")
_SHOWN_BROKEN = 3


def declare(parser: argparse.ArgumentParser) -> None:
    by = "What to sum up by (default: model)."
    parser.add_argument("--by", choices=_GROUPS, default=_GROUPS[0], metavar="|".join(_GROUPS), help=by)
    since = f"Only runs since then: {EXAMPLES}."
    parser.add_argument("--since", metavar="DATE|AGE", help=since)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError for a wrong date, and for a price file that can't be read; NotReadyError for a home that
    is not a folder."""
    if os.environ.get(PRICES_VARIABLE):
        from runbook_runner.gateway.providers.prices import prices_from  # imports pydantic and a decompressor

        prices_from(os.environ)
    by, since = arguments.by, arguments.since
    broken: list[Path] = []
    groups = totals(runs(Settings.load().require_home(), moment_of(since, "--since") if since else None, broken), by)
    if arguments.json:
        body = {"by": by, "since": since, "groups": {name: _json(total) for name, total in groups.items()}}
        body |= {"total": _json(summed(groups.values())), "unreadable": len(broken)}
        put_json(body)
    else:
        _print(by, groups)
    for path in broken[:_SHOWN_BROKEN]:
        warn(f"{path} can't be read and is not counted")
    if len(broken) > _SHOWN_BROKEN:
        warn(f"nor can {len(broken) - _SHOWN_BROKEN} more")
    return ExitCode.PASS


def _json(total: Total) -> dict[str, Any]:
    return {
        "runs": total.runs,
        "api_calls": total.calls,
        **total.tokens,
        "cost_usd": total.cost_usd,
        "known_cost_usd": round(total.known_usd, 6),
        "unknown_cost_runs": total.unknown_runs,
        "free_runs": total.free_runs,
    }


def _print(by: str, groups: dict[str, Total]) -> None:
    from rich.table import Table  # slow to import, and --json does without

    from runbook_runner.cli.ui.tables import print_table

    table = Table(box=None)
    table.add_column(by.title(), overflow="fold")
    for title in ("Runs", "Calls", "Input", "Cache read", "Cache write", "Output", "USD"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, total in groups.items():
        table.add_row(name, *_cells(total))
    if len(groups) != 1:
        table.add_row("Total", *_cells(summed(groups.values())), style="bold")
    print_table(table)
    if free := summed(groups.values()).free_runs:
        sys.stdout.write(f"{counted(free, 'run')} cost nothing: a model script or a recording answered.\n")


def _cells(total: Total) -> list[str]:
    kinds = ("prompt_tokens", "cache_read_tokens", "cache_write_tokens", "completion_tokens")
    return [f"{total.runs:,}", f"{total.calls:,}", *(f"{total.tokens[kind]:,}" for kind in kinds), _money(total)]


def _money(total: Total) -> str:
    if not total.unknown_runs:
        return f"{total.known_usd:.4f}"
    unknown = f"unknown for {total.unknown_runs:,} run" + ("s" if total.unknown_runs > 1 else "")
    return f"{total.known_usd:.4f} + {unknown}" if total.known_usd else unknown
