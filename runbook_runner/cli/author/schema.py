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
    what = (
        "frontmatter, script (a model script), agent (.runbook/agents/NAME.toml), suite (of `runbook eval`), "
        "event (a line of events.jsonl), trajectory (trajectory.json) or spec (spec.json) (default: frontmatter)."
    )
    parser.add_argument("what", nargs="?", choices=(*_SCHEMAS,), default="frontmatter", metavar="SCHEMA", help=what)


def execute(arguments: argparse.Namespace) -> int:
    from runbook_runner.runbook.frontmatter_schema import SCHEMA_URI

    put_json({"$schema": SCHEMA_URI, **_SCHEMAS[arguments.what]()}, indent=2)
    return ExitCode.PASS


def _frontmatter() -> dict[str, Any]:
    from runbook_runner.runbook.frontmatter_schema import frontmatter_schema

    return frontmatter_schema(known_agents([Path.cwd()]))


def _trajectory() -> dict[str, Any]:
    from runbook_runner.trajectory.models import Trajectory

    return Trajectory.model_json_schema(mode="serialization")


def _spec() -> dict[str, Any]:
    from runbook_runner.core.spec import RunSpec

    return RunSpec.model_json_schema(mode="serialization")


def _event() -> dict[str, Any]:
    from runbook_runner.core.events import event_schema

    return event_schema()


def _script() -> dict[str, Any]:
    from runbook_runner.gateway import script_schema

    return script_schema()


def _agent() -> dict[str, Any]:
    from runbook_runner.agents.declared.file import Declaration

    return Declaration.model_json_schema()


def _suite() -> dict[str, Any]:
    from runbook_runner.runner.suite.suite_file import Suite

    return Suite.model_json_schema()


_SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "frontmatter": _frontmatter,
    "script": _script,
    "agent": _agent,
    "suite": _suite,
    "event": _event,
    "trajectory": _trajectory,
    "spec": _spec,
}
