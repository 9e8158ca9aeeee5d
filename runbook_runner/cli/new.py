"""Command line: `runbook new`."""

from pathlib import Path

import typer


def new(
    name: str | None = typer.Argument(None, metavar="NAME", help="What to call it: the folder, and the title."),
    evaluation: str | None = typer.Option(
        None, metavar="KIND", help="rubric (the agent scores its work) or programmatic (facts decide). Default: rubric."
    ),
    agent: str | None = typer.Option(None, help="Who works. Default: by the model, else claude-code."),
    model: str | None = typer.Option(None, help="Model id. Default: the agent's own."),
    from_description: str | None = typer.Option(
        None, metavar="TEXT", help="What it should do, in a sentence or two; becomes Objective and title."
    ),
    out: Path = typer.Option(Path(), metavar="DIR", help="Where to make its folder. Default: here."),
) -> None:
    """Start a new runbook, NAME/RUNBOOK.md, that can be run and checked as it is. Nothing is ever overwritten.

    On a terminal it asks for what is left out.

    Exit codes: 0 written, 2 a bad name or option, or the file is there already.
    """
    from runbook_runner.cli.scaffolding import Asked, execute

    execute(Asked(name, evaluation, agent, model, from_description, out))
