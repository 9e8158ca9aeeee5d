"""Command line: `runbook cost`."""

import typer


def cost(
    by: str = typer.Option("model", metavar="model|task|day", help="What to sum up by."),
    since: str | None = typer.Option(None, metavar="DATE|AGE", help="Only runs since then: 2026-11-01, 7d or 12h."),
    json_: bool = typer.Option(False, "--json", help="One JSON object on stdout."),
) -> None:
    """What the recorded runs have cost, in tokens and in USD.

    Only what a provider was really asked for counts, not answers from model scripts and recordings. A price that is
    not known is shown as unknown, never as zero.

    Exit codes: 0 shown, 2 bad input.
    """
    from runbook_runner.cli.costing import execute

    execute(by, since, as_json=json_)
