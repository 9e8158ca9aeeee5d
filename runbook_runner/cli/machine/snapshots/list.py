"""Command line: `runbook snapshots list`."""

import argparse
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.filesize import decimal
from rich.table import Table

from runbook_runner.cli.machine.snapshots.images import layer_names, near, run_images, snapshot_json
from runbook_runner.cli.options import add_json
from runbook_runner.cli.ui.output import put_json, warn
from runbook_runner.cli.ui.tables import print_table
from runbook_runner.core.clock import iso
from runbook_runner.core.errors import ExitCode, NotReadyError
from runbook_runner.sandbox.docker.engine import connect
from runbook_runner.sandbox.images import inventory
from runbook_runner.sandbox.images.inventory import Built
from runbook_runner.sandbox.images.snapshots import Snapshot

_LAST_TIME = 253_402_300_799  # of the year 9999
DESCRIPTION = """\
An image that no run would use any more is marked as old; `runbook snapshots prune` removes it.

Exit codes: 0 shown.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    listed = _listed()
    if arguments.json:
        put_json(_list_json(listed))
    else:
        _print_list(listed)
    if listed.problem:
        warn(f"Which images are here is not known. {listed.problem}")
    return ExitCode.PASS


@dataclass(frozen=True)
class _Listed:
    snapshots: tuple[Snapshot, ...]
    images: tuple[Built, ...]
    old: frozenset[str]
    """References of the images that no run would use."""
    engine: str | None
    problem: str | None
    """Why there is no engine."""

    def images_of(self, name: str) -> list[Built]:
        return [image for image in self.images if image.snapshot == name]

    @property
    def others(self) -> list[Built]:
        known = {snapshot.name for snapshot in self.snapshots}
        return [image for image in self.images if image.snapshot not in known]


def _listed() -> _Listed:
    """The snapshots are worth listing without an engine, too."""
    found = tuple(inventory.snapshots(near()))
    try:
        engine = connect()
    except NotReadyError as error:
        return _Listed(found, (), frozenset(), None, str(error))
    images = inventory.built(engine)
    old = frozenset(image.reference for image in inventory.stale(engine, images, run_images()))
    return _Listed(found, images, old, engine.url, None)


def _list_json(listed: _Listed) -> dict[str, Any]:
    return {
        "engine": listed.engine,
        "snapshots": [
            {**snapshot_json(item), "images": [_image_json(image, listed) for image in listed.images_of(item.name)]}
            for item in listed.snapshots
        ],
        "other_images": [_image_json(image, listed) for image in listed.others],
    }


def _image_json(image: Built, listed: _Listed) -> dict[str, Any]:
    return {
        "tag": image.tag or None,
        "digest": image.digest,
        "size_bytes": image.size,
        "created": built_at(image.created),
        "layers": layer_names(image.made.layers) if image.made else None,
        "old": image.reference in listed.old,
    }


def built_at(seconds: int) -> str:
    """An image says itself when it was made: in any year."""
    return iso(datetime.fromtimestamp(min(max(seconds, 0), _LAST_TIME), UTC))


def _print_list(listed: _Listed) -> None:
    table = Table(box=None)
    for title in ("Snapshot", "On top", "Size", "Built", "Image"):
        table.add_column(title, justify="right" if title == "Size" else "left", no_wrap=title != "On top")
    for snapshot in listed.snapshots:
        images = listed.images_of(snapshot.name)
        shown = snapshot.name if snapshot.origin == "built-in" else f"{snapshot.name} ({snapshot.origin})"
        if not any(not image.made or not image.made.layers for image in images):
            table.add_row(shown, "", "", "not known" if listed.problem else "not here", "")
        for image in images:
            table.add_row(shown, *_cells(image, listed))
    for image in listed.others:
        table.add_row(image.name, *_cells(image, listed))
    print_table(table)


def _cells(image: Built, listed: _Listed) -> list[str]:
    on_top = ", ".join(layer_names(image.made.layers)) if image.made else "?"
    old = " old" if image.reference in listed.old else ""
    return [on_top, decimal(image.size), built_at(image.created)[:10], image.digest.removeprefix("sha256:")[:12] + old]
