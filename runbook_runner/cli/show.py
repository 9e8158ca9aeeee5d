"""Command line: `runbook show`."""

import typer


def show(
    path: str = typer.Argument(
        ..., metavar="PATH", help="A RUNBOOK.md, a folder that holds one, '-' for stdin, or an https URL."
    ),
    json_: bool = typer.Option(False, "--json", help="One JSON object on stdout, every piece with its line."),
) -> None:
    """Show what the engine understands of a runbook, and which agent, model and sandbox a run would take and why.

    Exit codes: 0 shown, 2 the file can't be read or its frontmatter is broken.
    """
    from runbook_runner.cli.showing import execute

    execute(path, as_json=json_)
