"""Command line: `runbook doctor`."""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from runbook_runner import __version__
from runbook_runner.core.errors import ExitCode
from runbook_runner.core.settings import Settings
from runbook_runner.runner.doctor import Finding, Machine, examine
from runbook_runner.runner.request.secrets import load_environment


def doctor(
    offline: bool = typer.Option(False, "--offline", help="Also: would a run go through with no network at all?"),
    json_: bool = typer.Option(False, "--json", help="One JSON object on stdout."),
) -> None:
    """What this machine has for runs, what it lacks, and the command that fixes it. Changes nothing.

    With --json: {"ok": …, "version": …, "findings": [{"check", "status", "message", "fix", "facts"}, …]}; `status` is
    ok, warn (some runs will not go through, or not as well) or fail; `fix` is null where nothing is to be done; the
    names in `check` and `facts` stay as they are. Of keys only names are shown, never values.

    Exit codes: 0 nothing failed, 2 bad input, 3 something failed.
    """
    raise typer.Exit(execute(offline=offline, as_json=json_))


_MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


def execute(*, offline: bool, as_json: bool) -> int:
    """The exit code. Raises InputError for a setting that can't be."""
    here = Path.cwd()
    found = examine(Machine(Settings.load(), load_environment(None, here), [here], offline=offline))
    failed = any(finding.status == "fail" for finding in found)
    if as_json:
        body = {"ok": not failed, "version": __version__, "findings": [asdict(finding) for finding in found]}
        sys.stdout.write(json.dumps(body) + "\n")
    else:
        _print(found)
    return ExitCode.NOT_READY if failed else ExitCode.PASS


def _print(found: Iterable[Finding]) -> None:
    console = Console(highlight=False)
    for finding in found:
        mark, colour = _MARKS[finding.status]
        line = Text.assemble((mark, colour), " ", (finding.check, "bold"), f": {finding.message}")
        console.print(line, soft_wrap=True)
        if finding.fix and finding.status != "ok":
            for row in finding.fix.splitlines():
                console.print(Text(f"    {row}", style="dim"), soft_wrap=True)
