"""Command line: `runbook schema`."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runbook_runner.agents.registry import known_agents
from runbook_runner.cli.ui.output import put_json
from runbook_runner.core.errors import ExitCode

DESCRIPTION = """\
For editors with yaml-language-server: save it (`runbook schema > runbook.schema.json`) and put
`# yaml-language-server: $schema=runbook.schema.json` below the first `---`.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    what = "frontmatter, trajectory or spec (default: frontmatter)."
    parser.add_argument("what", nargs="?", choices=(*_SCHEMAS,), default="frontmatter", metavar="SCHEMA", help=what)


def execute(arguments: argparse.Namespace) -> int:
    put_json(_SCHEMAS[arguments.what](), indent=2)
    return ExitCode.PASS


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
