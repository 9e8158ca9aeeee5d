"""Command line: `runbook schema`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from runbook_runner.agents.registry import known_agents
from runbook_runner.core.errors import InputError


def schema(
    what: str = typer.Argument("frontmatter", metavar="[WHAT]", help="frontmatter, trajectory or spec."),
) -> None:
    """Print the JSON Schema of the frontmatter, of trajectory.json or of spec.json.

    For editors with yaml-language-server: save it (`runbook schema > runbook.schema.json`) and put
    `# yaml-language-server: $schema=runbook.schema.json` below the first `---`.
    """
    make = _SCHEMAS.get(what)
    if make is None:
        raise InputError(f"There is no schema of {what!r}.", hint=f"There are {', '.join(_SCHEMAS)}.")
    sys.stdout.write(json.dumps(make(), indent=2, ensure_ascii=False) + "\n")


def _frontmatter() -> dict[str, Any]:
    from runbook_runner.runbook.frontmatter_schema import frontmatter_schema

    return frontmatter_schema(known_agents([Path.cwd()]))


def _trajectory() -> dict[str, Any]:
    from runbook_runner.runbook.frontmatter_schema import SCHEMA_URI
    from runbook_runner.trajectory.models import Trajectory

    return {"$schema": SCHEMA_URI, **Trajectory.model_json_schema(mode="serialization")}


def _spec() -> dict[str, Any]:
    from runbook_runner.core.spec import RunSpec
    from runbook_runner.runbook.frontmatter_schema import SCHEMA_URI

    return {"$schema": SCHEMA_URI, **RunSpec.model_json_schema(mode="serialization")}


_SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "frontmatter": _frontmatter,
    "trajectory": _trajectory,
    "spec": _spec,
}
