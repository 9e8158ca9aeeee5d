"""Command line: what `runbook snapshots list` and `inspect` show."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from runbook_runner.agents.registry import find_agent, known_agents
from runbook_runner.cli.machine.snapshots import near, shelf, stacks
from runbook_runner.core.clock import iso
from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.settings import Settings
from runbook_runner.sandbox.docker.engine import Engine, connect
from runbook_runner.sandbox.images import inventory
from runbook_runner.sandbox.images.inventory import Built, versions
from runbook_runner.sandbox.images.provide import ImageRef, planned
from runbook_runner.sandbox.images.recipe import Layer
from runbook_runner.sandbox.images.snapshots import ALIASES, Snapshot, find_snapshot


@dataclass(frozen=True)
class _Listed:
    snapshots: tuple[Snapshot, ...]
    images: tuple[Built, ...]
    old: frozenset[str]
    """References of those of no use."""
    engine: str | None
    problem: str | None
    """Why there is no engine."""

    def images_of(self, name: str) -> list[Built]:
        return [image for image in self.images if image.snapshot == name]

    @property
    def others(self) -> list[Built]:
        known = {snapshot.name for snapshot in self.snapshots}
        return [image for image in self.images if image.snapshot not in known]


def show_list(*, as_json: bool) -> None:
    listed = _listed()
    if as_json:
        _write_json(_list_json(listed))
    else:
        _print_list(listed)
    if listed.problem:
        sys.stderr.write(f"warning: {listed.problem}\n")


def _listed() -> _Listed:
    """The snapshots are worth listing without an engine, too."""
    found = tuple(inventory.snapshots(near()))
    try:
        engine = connect()
    except NotReadyError as error:
        return _Listed(found, (), frozenset(), None, str(error))
    images = inventory.built(engine)
    old = frozenset(image.reference for image in inventory.stale(engine, images, shelf()))
    return _Listed(found, images, old, engine.url, None)


def _list_json(listed: _Listed) -> dict[str, Any]:
    return {
        "engine": listed.engine,
        "snapshots": [
            {**_snapshot_json(item), "images": [_image_json(image, listed) for image in listed.images_of(item.name)]}
            for item in listed.snapshots
        ],
        "other_images": [_image_json(image, listed) for image in listed.others],
    }


def _snapshot_json(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "name": snapshot.name,
        "aliases": _aliases(snapshot),
        "origin": snapshot.origin,
        "folder": str(snapshot.folder),
        "base": snapshot.base,
    }


def _aliases(snapshot: Snapshot) -> list[str]:
    return [alias for alias, name in ALIASES.items() if name == snapshot.name]


def _image_json(image: Built, listed: _Listed) -> dict[str, Any]:
    return {
        "tag": image.tag or None,
        "digest": image.digest,
        "size_bytes": image.size,
        "created": _time(image.created),
        "layers": _layer_names(image.made.layers if image.made else ()),
        "old": image.reference in listed.old,
    }


def _layer_names(layers: Sequence[Layer]) -> list[str]:
    return [layer.name for layer in layers]


def _time(seconds: int) -> str:
    return iso(datetime.fromtimestamp(seconds, UTC))


def _print_list(listed: _Listed) -> None:
    table = Table(box=None)
    for title in ("Snapshot", "On top", "Size", "Built", "Image"):
        table.add_column(title, justify="right" if title == "Size" else "left", no_wrap=title != "On top")
    for snapshot in listed.snapshots:
        images = listed.images_of(snapshot.name)
        shown = snapshot.name if snapshot.origin == "built-in" else f"{snapshot.name} ({snapshot.origin})"
        if not any(not image.made or not image.made.layers for image in images):
            table.add_row(shown, "", "", "not here", "")
        for image in images:
            table.add_row(shown, *_cells(image, listed))
    for image in listed.others:
        table.add_row(image.name, *_cells(image, listed))
    Console(highlight=False).print(table)


def _cells(image: Built, listed: _Listed) -> list[str]:
    on_top = ", ".join(_layer_names(image.made.layers)) if image.made else "?"
    old = " old" if image.reference in listed.old else ""
    return [on_top, decimal(image.size), _time(image.created)[:10], image.digest.removeprefix("sha256:")[:12] + old]


# --- one -----------------------------------------------------------------------------------------------------------


def show_one(name: str, agents: Sequence[str], packages: Sequence[str], *, as_json: bool) -> None:
    """Raises InputError for an unknown one, NotReadyError when it is not built."""
    snapshot, layers = find_snapshot(name, near()), stacks(agents, packages)[-1]
    engine = connect()
    image = planned(engine, snapshot, layers, Settings.load(), near())
    if image is None:
        options = "".join(f" --agent {agent}" for agent in agents) + "".join(f" --apt {item}" for item in packages)
        command = f"runbook snapshots build {name}{options}"
        raise NotReadyError("It is not built on this engine yet.", where=name, hint=f"Run `{command}`.")
    described, programs = _one_json(engine, image, layers), _programs(engine, image)
    if as_json:
        _write_json({**_snapshot_json(snapshot), "image": described, "programs": programs})
    else:
        _print_one(snapshot, described, programs)


def _one_json(engine: Engine, image: ImageRef, layers: Sequence[Layer]) -> dict[str, Any]:
    found = engine.image(image.digest)
    return {
        "tag": image.tag,
        "digest": image.digest,
        "size_bytes": int(found["Size"]),
        "created": str(found["Created"]),
        "platform": f"{found['Os']}/{found['Architecture']}",
        "user": str(found["Config"].get("User") or "root"),
        "layers": _layer_names(layers),
    }


def _programs(engine: Engine, image: ImageRef) -> dict[str, str]:
    binaries = (find_agent(name, near()).binary for name in known_agents(near()))
    return versions(engine, image.digest, binaries)


def _print_one(snapshot: Snapshot, image: dict[str, Any], programs: dict[str, str]) -> None:
    rows = {
        "Snapshot": " ".join([snapshot.name, *(f"(also {alias})" for alias in _aliases(snapshot))]),
        "From": f"{snapshot.origin}, {snapshot.folder}",
        "On top": ", ".join(image["layers"]) or "nothing",
        "Image": image["tag"],
        "Digest": image["digest"],
        "Size": decimal(image["size_bytes"]),
        "Built": image["created"][:19].replace("T", " "),
        "Platform": image["platform"],
        "Runs as": image["user"],
        **programs,
    }
    width = max(map(len, rows))
    for name, value in rows.items():
        sys.stdout.write(f"{name:{width}}  {value}\n")


def _write_json(body: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(body) + "\n")
