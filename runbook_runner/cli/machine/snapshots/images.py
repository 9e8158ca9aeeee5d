"""Command line, `snapshots`: what the commands share: the option for what goes on top of a snapshot, and building."""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from runbook_runner.agents.registry import find_agent, known_agents
from runbook_runner.cli.options import REPEATED
from runbook_runner.cli.ui.follow import ask_on_terminal
from runbook_runner.cli.ui.progress import Progress
from runbook_runner.core.settings import Settings
from runbook_runner.runner.environment.images import agent_layers, check_packages, layers_of
from runbook_runner.runner.trust import Trust, TrustStore
from runbook_runner.sandbox.docker.engine import Engine
from runbook_runner.sandbox.images.inventory import RunImages
from runbook_runner.sandbox.images.provide import ImageRef, ensure
from runbook_runner.sandbox.images.recipe import Layer
from runbook_runner.sandbox.images.snapshots import ALIASES, Snapshot, find_snapshot

ALL_AGENTS = "all"


def add_layers(parser: argparse.ArgumentParser) -> None:
    agents = f"With the CLI of this agent on top, or `{ALL_AGENTS}`; may be repeated."
    parser.add_argument("--agent", dest="agents", **REPEATED, metavar="AGENT", help=agents)
    packages = "With this Debian package on top; may be repeated."
    parser.add_argument("--apt", dest="packages", **REPEATED, metavar="PACKAGE", help=packages)


def near() -> tuple[Path, ...]:
    """Folders from which upwards snapshots and agents are looked for."""
    return (Path.cwd(),)


def run_images() -> RunImages:
    return RunImages(Settings.load(), near(), agent_layers(near()))


def trust_for(arguments: argparse.Namespace) -> Trust:
    return Trust(TrustStore(Settings.load().data), arguments.trust, ask_on_terminal())


def stacks(agents: Sequence[str], packages: Sequence[str], trust: Trust | None = None) -> list[list[Layer]]:
    """What to put on a snapshot: only the packages, and then each agent alone. trust: for what is to be built. Raises
    InputError, NotReadyError for an agent that is not trusted."""
    names = known_agents(near()) if ALL_AGENTS in agents else agents
    checked = check_packages(packages, "--apt")
    known = [find_agent(name, near()) for name in names]
    if trust:
        for agent in known:
            trust.require_agent(agent)
    found = [layers_of(agent, checked) for agent in known]
    return [layers_of(None, checked), *(layers for layers in found if len(layers) > bool(checked))]


def build_missing(
    engine: Engine,
    names: Iterable[str],
    wanted: Sequence[Sequence[Layer]],
    console: Console,
    *,
    trust: Trust,
    fresh: bool = False,
) -> Iterator[ImageRef]:
    """fresh: also build the images that exist. Raises RunbookError."""
    settings = Settings.load()
    found = [find_snapshot(name, near()) for name in names]

    for snapshot in found:
        for number, layers in enumerate(wanted):
            with Progress(console) as report:
                image = ensure(
                    engine,
                    snapshot,
                    layers,
                    settings,
                    report,
                    near(),
                    may_build=trust.require_snapshot,
                    fresh=fresh and number == 0,
                )
            yield image


def snapshot_json(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "name": snapshot.name,
        "aliases": aliases_of(snapshot),
        "origin": snapshot.origin,
        "folder": str(snapshot.folder),
        "base": snapshot.base,
    }


def aliases_of(snapshot: Snapshot) -> list[str]:
    return [alias for alias, name in ALIASES.items() if name == snapshot.name]


def layer_names(layers: Iterable[Layer]) -> list[str]:
    return [layer.name for layer in layers]
