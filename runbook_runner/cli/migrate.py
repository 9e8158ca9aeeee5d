"""Command line: `runbook migrate`."""

import typer


def migrate(
    path: str = typer.Argument(..., metavar="PATH", help="A v1 RUNBOOK.md, a folder that holds one, or '-' for stdin."),
    write: bool = typer.Option(False, "--write", help="Write the file; without this only the diff is shown."),
) -> None:
    """Turn a v1 runbook into v2: its verification script and checklist become Code Checks and Checklist.

    What is not moved stays byte for byte; what could not be moved is named on stderr.

    Exit codes: 0 done, or the file is v2 already; 2 the file can't be read.
    """
    from runbook_runner.cli.migrating import execute

    execute(path, write=write)
