"""Command line: `runbook show`."""

import argparse
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from runbook_runner.agents.registry import known_agents
from runbook_runner.cli.options import add_json
from runbook_runner.cli.ui.console import make_console
from runbook_runner.cli.ui.output import put_json
from runbook_runner.core.errors import ExitCode
from runbook_runner.core.text import counted, printable
from runbook_runner.runbook.describe import describe, plain
from runbook_runner.runbook.document import Runbook, parse
from runbook_runner.runbook.sources.load import load
from runbook_runner.runner import RunRequest
from runbook_runner.runner.request.choices import Choices, choose
from runbook_runner.runner.request.secrets import provider_keys

_RUN_BY = {"jetty": "the platform", "agent": "the agent"}
"""By `executor` of a code check."""
DESCRIPTION = "Exit codes: 0 shown, 2 the file can't be read or its frontmatter is broken."


def declare(parser: argparse.ArgumentParser) -> None:
    path = "A RUNBOOK.md, a folder that holds one, '-' for stdin, or an https URL."
    parser.add_argument("path", metavar="PATH", help=path)
    add_json(parser, "Print one JSON object on stdout, every piece with its line.")


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError for a file that can't be read."""
    source = load(arguments.path)
    runbook = parse(source.text, source.name)
    keys = provider_keys(os.environ)
    near = (*([source.folder] if source.folder else []), Path.cwd())
    choices = choose(runbook.frontmatter, RunRequest(source, near=near), keys)
    described = {**describe(runbook), "resolved": _resolved(choices, known_agents(near))}
    if arguments.json:
        put_json(described, indent=1)
    else:
        _print(make_console(), runbook, described)
    return ExitCode.PASS


def _resolved(choices: Choices, known: Collection[str]) -> dict[str, Any]:
    resolved: dict[str, Any] = plain(choices)
    if choices.agent.value not in known:
        resolved["agent"]["why"] += "; this version can't run it"
    return resolved


def _print(console: Console, runbook: Runbook, described: dict[str, Any]) -> None:
    console.print(Text(printable(runbook.title or "(no title)"), style="bold"))
    pattern = described["evaluation"]["pattern"] or "not given"
    console.print(Text(f"{printable(runbook.source)}, v{runbook.generation}, evaluation: {printable(pattern)}"))
    if (line := described["unread_from"]) is not None:
        console.print(Text(f"Too long: from line {line} on only the text is read.", style="yellow"))
    for title, columns, rows in _tables(described):
        if rows:
            console.print()
            console.print(Text(title, style="bold"))
            console.print(_table(columns, rows[:_MOST_ROWS]))
            if len(rows) > _MOST_ROWS:
                console.print(Text(f"… {len(rows) - _MOST_ROWS} more: --json lists all of them.", style="yellow"))


_Rows = Sequence[Sequence[Any]]
_MOST_ROWS = 1000  # laying out a table takes its time: a file of 5 MB has room for 200,000 rows


def _tables(d: dict[str, Any]) -> Iterable[tuple[str, tuple[str, ...], _Rows]]:
    """Title, column titles and rows; those without rows are left out when printed."""
    evaluation, rubric = d["evaluation"], d["evaluation"]["rubric"] or {}
    yield "A run would take", ("", "", "Why"), [(k, c["value"], c["why"]) for k, c in d["resolved"].items()]
    yield (
        "Parameters",
        ("Line", "Name", "Default", "Description"),
        [(p["line"], p["name"], _default(p), p["description"]) for p in d["parameters"]],
    )
    yield (
        "Required outputs",
        ("Line", "File", "Description"),
        [(o["line"], _primary(d, o), o["description"]) for o in d["outputs"]],
    )
    yield (
        "Secrets",
        ("Line", "Name", "Variable", "Required", "Description"),
        [(s["line"], s["name"], s["env"], s["required"], s["description"]) for s in d["secrets"]],
    )
    yield "Steps", ("Line", "Step", "Name"), [(s["line"], s["number"], s["name"]) for s in d["steps"]]
    yield from _judging(d, evaluation, rubric)
    yield (
        "MCP servers",
        ("Name", "Transport", "Where"),
        [(m["name"], m["transport"], m["command"] or m["url"]) for m in d["mcp_servers"]],
    )
    yield (
        "Used but not declared",
        ("Line", "Name"),
        [(u["line"], f"secrets.{u['name']}" if u["is_secret"] else u["name"]) for u in d["undeclared"]],
    )
    origin = d["origin"] or {}
    yield "Origin", ("", ""), [(k, v) for k, v in origin.items() if isinstance(v, str)]


def _judging(
    d: dict[str, Any], evaluation: dict[str, Any], rubric: dict[str, Any]
) -> Iterable[tuple[str, tuple[str, ...], _Rows]]:
    """What the results are judged by."""
    yield (
        "Code checks",
        ("Line", "Id", "Kind", "Run by", "Name"),
        [(c["line"], c["id"], c["kind"], _RUN_BY.get(c["executor"]), _check_name(c)) for c in d["code_checks"]],
    )
    yield "Checklist", ("Line", "Item"), [(c["line"], c["text"]) for c in d["checklist"]]
    bars = f"average {rubric.get('average'):g}, none below {rubric.get('minimum'):g}" if rubric else ""
    yield (
        f"Rubric ({bars})",
        ("Line", "Criterion", "Weight"),
        [(c["line"], c["name"], c["weight"]) for c in rubric.get("criteria", ())],
    )
    yield (
        "Status",
        ("Line", "Status", "Criteria"),
        [(s["line"], s["name"], s["criteria"]) for s in evaluation["statuses"]],
    )
    bounds = evaluation["iteration_bounds"][:1]
    yield "Iteration", ("Line", "Rounds", "Said as"), [(b["line"], b["rounds"], b["text"]) for b in bounds]
    yield (
        "Common fixes",
        ("Line", "Issue", "Fix"),
        [(f["line"], f["issue"], f["fix"]) for f in evaluation["common_fixes"]],
    )
    script = d["verification"]
    lines = [(script["line"], counted(script["code"].count("\n"), "line"))] if script else []
    yield "Verification script", ("Line", "Length"), lines


def _default(parameter: dict[str, Any]) -> str:
    if parameter["required"] and parameter["default"] is None:
        return "(required)"
    if parameter["default"] is not None:
        return str(parameter["default"])
    return str(parameter["prose"]) or "(optional)"


def _primary(described: dict[str, Any], output: dict[str, Any]) -> str:
    return f"{output['path']} (primary)" if output["path"] in described["primary_outputs"] else str(output["path"])


def _check_name(check: dict[str, Any]) -> str:
    if check["is_repeat"]:
        return f"{check['name']} (does not count: the id is taken)"
    if not check["id"]:
        return f"{check['name']} (does not count: no `<id> — <name>`)"
    return f"{check['name']} (error: {check['problem']})" if check["problem"] else str(check["name"])


def _table(columns: tuple[str, ...], rows: _Rows) -> Table:
    table = Table(box=None, show_header=any(columns))
    for column in columns:
        table.add_column(column, justify="right" if column == "Line" else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_spell(cell)) for cell in row))
    return table


def _spell(cell: Any) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return "–" if cell is None else printable(str(cell))
