"""Command line: `runbook fmt`."""

import typer


def fmt(
    paths: list[str] = typer.Argument(
        ..., metavar="PATH...", help="Files, folders to search for RUNBOOK.md, globs, or '-' for stdin to stdout."
    ),
    check: bool = typer.Option(False, "--check", help="Write nothing; name the files that would change."),
    diff: bool = typer.Option(False, "--diff", help="Write nothing; show what would change."),
) -> None:
    """Put tables in line and frontmatter keys in order. All else stays byte for byte.

    Exit codes: 0 done or nothing to do, 1 something would change (--check, --diff), 2 a file can't be read.
    """
    from runbook_runner.cli.formatting import execute

    raise typer.Exit(execute(tuple(paths), check=check, diff=diff))
