"""Command line: `runbook doctor`."""

import argparse
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from rich.text import Text

from runbook_runner import __version__
from runbook_runner.cli.options import add_json
from runbook_runner.cli.ui.console import make_console
from runbook_runner.cli.ui.output import put_json
from runbook_runner.core.errors import ExitCode
from runbook_runner.core.settings import Settings
from runbook_runner.runner.doctor import examine
from runbook_runner.runner.doctor.machine import Finding, Machine

DESCRIPTION = """\
With --json: {"ok": …, "version": …, "findings": [{"check", "status", "message", "fix", "facts"}, …]}; `status` is ok,
warn (some runs will fail, or work less well) or fail; `fix` is null when there is nothing to do; the names in `check`
and `facts` are stable. Only names of keys are shown, never values.

Exit codes: 0 nothing failed, 2 bad input, 3 something failed.
"""

_MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--offline", action="store_true", help="Also check whether a run would work without a network.")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError for a setting that is not possible."""
    here = Path.cwd()
    found = examine(Machine(Settings.load(), os.environ, [here], offline=arguments.offline))
    failed = any(finding.status == "fail" for finding in found)
    if arguments.json:
        body = {"ok": not failed, "version": __version__, "findings": [asdict(finding) for finding in found]}
        put_json(body)
    else:
        _print(found)
    return ExitCode.NOT_READY if failed else ExitCode.PASS


def _print(found: Iterable[Finding]) -> None:
    console = make_console()
    for finding in found:
        mark, colour = _MARKS[finding.status]
        line = Text.assemble((mark, colour), " ", (finding.check, "bold"), f": {finding.message}")
        console.print(line, soft_wrap=True)
        if finding.fix and finding.status != "ok":
            for row in finding.fix.splitlines():
                console.print(Text(f"    {row}", style="dim"), soft_wrap=True)
