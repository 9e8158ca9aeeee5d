"""Command line: `runbook snapshots`."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.text import Text

from runbook_runner.agents.registry import find_agent, known_agents
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.settings import Settings
from runbook_runner.core.text import printable_output
from runbook_runner.runner.environment.images import agent_layers, check_packages, layers_of
from runbook_runner.sandbox.docker.engine import Engine, connect
from runbook_runner.sandbox.images import inventory, transfer
from runbook_runner.sandbox.images.inventory import Built, Shelf
from runbook_runner.sandbox.images.provide import ImageRef, ensure
from runbook_runner.sandbox.images.recipe import Layer
from runbook_runner.sandbox.images.snapshots import ALIASES, find_snapshot

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
    from runbook_runner.cli.machine.snapshot_tables import show_list

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
    from runbook_runner.cli.machine.snapshot_tables import show_one

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
    build_images(names, agent, apt, fresh=fresh, quiet=quiet)


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
    prune_images(names, everything=all_, dry_run=dry_run)


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
    export_images(names, agent, apt, out, quiet=quiet)


@snapshots.command("import")
def import_(
    file: Path = typer.Argument(..., metavar="FILE", help="What `runbook snapshots export` wrote."),
) -> None:
    """Take in the images of such a file, so that runs here use them instead of building their own.

    Both machines need the same version of Runbook Runner, and the same files of snapshots of your own.

    Exit codes: 0 runs here will use every image, 1 not every one (it says why), 2 bad input, 3 no Docker engine
    answers.
    """
    raise typer.Exit(import_images(file))


ALL_AGENTS = "all"


def near() -> tuple[Path, ...]:
    return (Path.cwd(),)


def shelf() -> Shelf:
    return Shelf(Settings.load(), near(), agent_layers(near()))


def stacks(agents: Sequence[str], packages: Sequence[str]) -> list[list[Layer]]:
    """What to put on a snapshot: nothing but the packages, and then each agent alone. Raises InputError."""
    names = known_agents(near()) if ALL_AGENTS in agents else agents
    checked = check_packages(packages, "--apt")
    found = [layers_of(find_agent(name, near()), checked) for name in names]
    return [layers_of(None, checked), *(layers for layers in found if len(layers) > bool(checked))]


def build_images(
    names: Sequence[str], agents: Sequence[str], packages: Sequence[str], *, fresh: bool, quiet: bool
) -> None:
    console = _console(quiet=quiet)
    for image in _built(connect(), names, stacks(agents, packages), console, fresh=fresh):
        console.print(Text(f"✓ {image.tag}", style="green"), soft_wrap=True)


def _built(
    engine: Engine, names: Iterable[str], wanted: Sequence[Sequence[Layer]], console: Console, *, fresh: bool = False
) -> Iterator[ImageRef]:
    settings = Settings.load()
    found = [find_snapshot(name, near()) for name in names]

    def report(line: str) -> None:
        console.print(Text(f"  {printable_output(line)}", style="dim"), soft_wrap=True)

    for snapshot in found:
        for number, layers in enumerate(wanted):
            yield ensure(engine, snapshot, layers, settings, report, near(), fresh=fresh and number == 0)


def _console(*, quiet: bool = False) -> Console:
    return Console(highlight=False, quiet=quiet)


# --- prune ---------------------------------------------------------------------------------------------------------


def prune_images(names: Sequence[str], *, everything: bool, dry_run: bool) -> None:
    engine, console = connect(), _console()
    images = [image for image in inventory.built(engine) if not names or image.snapshot in _real(names)]
    _refuse_strangers(names, images)
    gone = [*reversed(images)] if everything else inventory.stale(engine, images, shelf())
    for image in gone:
        _remove(engine, image, console, dry_run=dry_run)
    if not gone:
        console.print("Nothing to remove.")


def _real(names: Iterable[str]) -> set[str]:
    return {ALIASES.get(name, name) for name in names}


def _refuse_strangers(names: Iterable[str], images: Iterable[Built]) -> None:
    """A name that is neither a snapshot's nor an image's was mistyped."""
    there = {image.snapshot for image in images}
    for name in _real(names) - there:
        find_snapshot(name, near())


def _remove(engine: Engine, image: Built, console: Console, *, dry_run: bool) -> None:
    what = f"{image.tag or image.name + ' ' + image.digest.removeprefix('sha256:')[:12]} ({decimal(image.size)})"
    if dry_run:
        console.print(f"would remove {what}", soft_wrap=True)
    elif reason := inventory.remove(engine, image):
        console.print(f"kept {what}: {reason}", soft_wrap=True)
    else:
        console.print(f"removed {what}", soft_wrap=True)


# --- to a file, and from it ----------------------------------------------------------------------------------------


def export_images(
    names: Sequence[str], agents: Sequence[str], packages: Sequence[str], out: Path, *, quiet: bool
) -> None:
    if not out.absolute().parent.is_dir():
        raise InputError("There is no such folder.", where=str(out.absolute().parent))
    engine, console = connect(), _console(quiet=quiet)
    images = list(_built(engine, names, stacks(agents, packages), console))
    tags = list(dict.fromkeys(image.tag for image in images))
    size = transfer.export(engine, tags, out)
    for tag in tags:
        console.print(Text(f"✓ {tag}", style="green"), soft_wrap=True)
    console.print(f"{out} ({decimal(size)})", soft_wrap=True)


def import_images(file: Path) -> ExitCode:
    console = _console()
    loaded = transfer.load(connect(), file, shelf())
    for image in loaded:
        if image.used_as:
            console.print(Text(f"✓ {image.used_as}", style="green"), soft_wrap=True)
        else:
            console.print(
                Text(f"! {printable_output(image.tag)}: no run here will use it. {image.why_not}"), soft_wrap=True
            )
    return ExitCode.PASS if all(image.used_as for image in loaded) else ExitCode.VERDICT_FAIL
