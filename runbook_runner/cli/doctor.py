"""Command line: `runbook doctor`."""

import typer


def doctor(
    offline: bool = typer.Option(False, "--offline", help="Also: would a run go through with no network at all?"),
    json_: bool = typer.Option(False, "--json", help="One JSON object on stdout."),
) -> None:
    """What this machine has for runs, what it lacks, and the command that mends it. Changes nothing.

    With --json: {"ok": …, "version": …, "findings": [{"check", "status", "message", "mend", "facts"}, …]}; `status` is
    ok, warn (some runs will not go through, or not as well) or fail; `mend` is null where nothing is to be done; the
    names in `check` and `facts` stay as they are. Of keys only names are shown, never values.

    Exit codes: 0 nothing failed, 2 bad input, 3 something failed.
    """
    from runbook_runner.cli.doctoring import execute

    raise typer.Exit(execute(offline=offline, as_json=json_))
