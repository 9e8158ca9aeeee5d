"""Command line: `runbook clean`."""

import typer


def clean(
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would be removed, remove nothing."),
    kept: bool = typer.Option(False, "--kept", help="Also what runs with --keep have left."),
    json_: bool = typer.Option(False, "--json", help="One JSON object on stdout."),
) -> None:
    """Remove what dead runs have left: containers, temporary folders, control groups, claims.

    A run whose process was killed is brought to its end first: its results come home and its trajectory says that it
    was interrupted. Every `runbook run` does the same before it starts. Runs that live are never touched; nor are
    images (`runbook snapshots prune`) and trajectories. Networks and volumes are not made in the first place.

    Looks at the runs of this home (.runbook/ or RUNBOOK_HOME), and on this machine at everything of this user's that
    says which run it belongs to.

    Exit codes: 0 done, 3 something can't be removed.
    """
    from runbook_runner.cli.cleaning import execute

    execute(dry_run=dry_run, kept_too=kept, as_json=json_)
