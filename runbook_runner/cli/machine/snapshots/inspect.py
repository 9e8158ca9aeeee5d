"""Command line: `runbook snapshots inspect`."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from rich.filesize import decimal

from runbook_runner.agents.registry import find_agent, known_agents
from runbook_runner.cli.machine.snapshots.images import (
    add_layers,
    aliases_of,
    layer_names,
    near,
    snapshot_json,
    stacks,
)
from runbook_runner.cli.options import add_json
from runbook_runner.cli.ui.output import put_json
from runbook_runner.core.errors import ExitCode, NotReadyError
from runbook_runner.core.settings import Settings
from runbook_runner.sandbox.docker.engine import Engine, connect
from runbook_runner.sandbox.images.inventory import versions
from runbook_runner.sandbox.images.provide import ImageRef, planned
from runbook_runner.sandbox.images.recipe import Layer
from runbook_runner.sandbox.images.snapshots import Snapshot, find_snapshot

DESCRIPTION = "Exit codes: 0 shown, 2 bad input, 3 it is not built here, or no Docker engine answers."


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="SNAPSHOT", help="A snapshot.")
    add_layers(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError for an unknown snapshot, NotReadyError when it is not built."""
    name, agents, packages = arguments.name, arguments.agents, arguments.packages
    snapshot, layers = find_snapshot(name, near()), stacks(agents, packages)[-1]
    engine = connect()
    image = planned(engine, snapshot, layers, Settings.load(), near())
    if image is None:
        options = "".join(f" --agent {agent}" for agent in agents) + "".join(f" --apt {item}" for item in packages)
        command = f"runbook snapshots build {name}{options}"
        raise NotReadyError("It is not built on this engine yet.", where=name, hint=f"Run `{command}`.")
    described, programs = _image_json(engine, image, layers), _programs(engine, image)
    if arguments.json:
        body = {**snapshot_json(snapshot), "image": described, "programs": programs}
        put_json(body)
    else:
        _print(snapshot, described, programs)
    return ExitCode.PASS


def _image_json(engine: Engine, image: ImageRef, layers: Sequence[Layer]) -> dict[str, Any]:
    found = engine.image(image.digest)
    return {
        "tag": image.tag,
        "digest": image.digest,
        "size_bytes": int(found["Size"]),
        "created": str(found["Created"]),
        "platform": f"{found['Os']}/{found['Architecture']}",
        "user": str(found["Config"].get("User") or "root"),
        "layers": layer_names(layers),
    }


def _programs(engine: Engine, image: ImageRef) -> dict[str, str]:
    binaries = (find_agent(name, near()).binary for name in known_agents(near()))
    return versions(engine, image.digest, binaries)


def _print(snapshot: Snapshot, image: dict[str, Any], programs: dict[str, str]) -> None:
    rows = {
        "Snapshot": " ".join([snapshot.name, *(f"(also {alias})" for alias in aliases_of(snapshot))]),
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
