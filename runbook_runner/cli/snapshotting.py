"""Command line: what `runbook snapshots` builds, removes, writes to a file and takes in from one."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.text import Text

from runbook_runner.agents.registry import find_agent, known_agents
from runbook_runner.cli.display import plain
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.settings import Settings
from runbook_runner.runner.environment.layers import agent_layers, check_packages, layers_of
from runbook_runner.sandbox.docker.engine import Engine, connect
from runbook_runner.sandbox.images import inventory, transfer
from runbook_runner.sandbox.images.inventory import Built, Shelf
from runbook_runner.sandbox.images.provide import ImageRef, ensure
from runbook_runner.sandbox.images.recipe import Layer
from runbook_runner.sandbox.images.snapshots import ALIASES, find_snapshot

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


def build(names: Sequence[str], agents: Sequence[str], packages: Sequence[str], *, fresh: bool, quiet: bool) -> None:
    console = _console(quiet=quiet)
    for image in _built(connect(), names, stacks(agents, packages), console, fresh=fresh):
        console.print(Text(f"✓ {image.tag}", style="green"), soft_wrap=True)


def _built(
    engine: Engine, names: Iterable[str], wanted: Sequence[Sequence[Layer]], console: Console, *, fresh: bool = False
) -> Iterator[ImageRef]:
    settings = Settings.load()
    found = [find_snapshot(name, near()) for name in names]

    def report(line: str) -> None:
        console.print(Text(f"  {plain(line)}", style="dim"), soft_wrap=True)

    for snapshot in found:
        for number, layers in enumerate(wanted):
            yield ensure(engine, snapshot, layers, settings, report, near(), fresh=fresh and number == 0)


def _console(*, quiet: bool = False) -> Console:
    return Console(highlight=False, quiet=quiet)


# --- prune ---------------------------------------------------------------------------------------------------------


def prune(names: Sequence[str], *, everything: bool, dry_run: bool) -> None:
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


def export(names: Sequence[str], agents: Sequence[str], packages: Sequence[str], out: Path, *, quiet: bool) -> None:
    if not out.absolute().parent.is_dir():
        raise InputError("There is no such folder.", where=str(out.absolute().parent))
    engine, console = connect(), _console(quiet=quiet)
    images = list(_built(engine, names, stacks(agents, packages), console))
    tags = list(dict.fromkeys(image.tag for image in images))
    size = transfer.export(engine, tags, out)
    for tag in tags:
        console.print(Text(f"✓ {tag}", style="green"), soft_wrap=True)
    console.print(f"{out} ({decimal(size)})", soft_wrap=True)


def import_(file: Path) -> ExitCode:
    console = _console()
    loaded = transfer.load(connect(), file, shelf())
    for image in loaded:
        if image.used_as:
            console.print(Text(f"✓ {image.used_as}", style="green"), soft_wrap=True)
        else:
            console.print(Text(f"! {plain(image.tag)}: no run here will use it. {image.why_not}"), soft_wrap=True)
    return ExitCode.PASS if all(image.used_as for image in loaded) else ExitCode.VERDICT_FAIL
