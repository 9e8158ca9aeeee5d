"""Command line: `runbook snapshots`."""

from pathlib import Path

import typer

snapshots = typer.Typer(
    no_args_is_help=True,
    help="Snapshots: what a sandbox is made of. Yours are `.runbook/snapshots/NAME/Dockerfile`, there or in a folder "
    "above.",
)

_AGENT = typer.Option([], "--agent", metavar="AGENT", help="With this agent's CLI on top, or `all`; may be repeated.")
_APT = typer.Option([], "--apt", metavar="PACKAGE", help="With this Debian package on top; may be repeated.")
_JSON = typer.Option(False, "--json", help="One JSON object on stdout.")
_QUIET = typer.Option(False, "-q", "--quiet", help="Say nothing but errors.")


@snapshots.command("list")
def list_(json_: bool = _JSON) -> None:
    """What snapshots there are, and which images of them the Docker engine has.

    An image that no run would use any more is marked as old; `prune` removes it.
    """
    from runbook_runner.cli.snapshots_shown import show_list

    show_list(as_json=json_)


@snapshots.command()
def inspect(
    name: str = typer.Argument(..., metavar="NAME", help="A snapshot."),
    agent: list[str] = _AGENT,
    apt: list[str] = _APT,
    json_: bool = _JSON,
) -> None:
    """What is in a snapshot's image: its size and digest, and the versions of Python, Node, the CLIs and others.

    Exit codes: 0 shown, 2 bad input, 3 it is not built here, or no Docker engine answers.
    """
    from runbook_runner.cli.snapshots_shown import show_one

    show_one(name, agent, apt, as_json=json_)


@snapshots.command()
def build(
    names: list[str] = typer.Argument(..., metavar="NAME...", help="Snapshots."),
    agent: list[str] = _AGENT,
    apt: list[str] = _APT,
    fresh: bool = typer.Option(False, "--fresh", help="Build it even if it is there: for newer packages of Debian's."),
    quiet: bool = _QUIET,
) -> None:
    """Build snapshots ahead of the first run, or before the network is gone.

    Exit codes: 0 built or there already, 2 bad input, 3 it could not be built.
    """
    from runbook_runner.cli.snapshotting import build

    build(names, agent, apt, fresh=fresh, quiet=quiet)


@snapshots.command()
def prune(
    names: list[str] = typer.Argument([], metavar="[NAME...]", help="Only images of these snapshots."),
    all_: bool = typer.Option(False, "--all", help="The images that runs would use as well."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would be removed, remove nothing."),
) -> None:
    """Remove images of snapshots that no run would use any more.

    What a container uses stays. A run builds what it needs again.

    Exit codes: 0 done, 2 bad input, 3 no Docker engine answers.
    """
    from runbook_runner.cli.snapshotting import prune

    prune(names, everything=all_, dry_run=dry_run)


@snapshots.command()
def export(
    names: list[str] = typer.Argument(..., metavar="NAME...", help="Snapshots."),
    out: Path = typer.Option(..., "-o", "--out", metavar="FILE", help="The file, a tar archive."),
    agent: list[str] = _AGENT,
    apt: list[str] = _APT,
    quiet: bool = _QUIET,
) -> None:
    """Write the images of snapshots to one file, for a machine without a network. Builds what is missing.

    Exit codes: 0 written, 2 bad input, 3 it could not be built.
    """
    from runbook_runner.cli.snapshotting import export

    export(names, agent, apt, out, quiet=quiet)


@snapshots.command("import")
def import_(
    file: Path = typer.Argument(..., metavar="FILE", help="What `runbook snapshots export` wrote."),
) -> None:
    """Take in the images of such a file, so that runs here use them instead of building their own.

    Both machines need the same version of Runbook Runner, and the same files of snapshots of your own.

    Exit codes: 0 runs here will use every image, 1 not every one (it says why), 2 bad input, 3 no Docker engine
    answers.
    """
    from runbook_runner.cli.snapshotting import import_

    raise typer.Exit(import_(file))
