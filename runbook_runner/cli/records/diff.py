"""Command line: `runbook diff`."""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runbook_runner.cli.options import add_force, add_json
from runbook_runner.cli.records.diff_lines import Section, sections
from runbook_runner.cli.records.diff_page import page_of
from runbook_runner.cli.records.runs.common import RUN_HELP
from runbook_runner.cli.ui.output import put_json, require_place, tell_written, write_new
from runbook_runner.core.errors import ExitCode
from runbook_runner.core.settings import Settings
from runbook_runner.core.text import decoded_name, printable_name, printable_output
from runbook_runner.runner.diff import Change, Diff, diff, opened_side

DESCRIPTION = """\
Compares what was asked for (mission, parameters, agent, model, limits), how it ended, the tool calls, and the results,
by their type: JSON and tables by values, images by pixels, PDF by its text. Where the runs took place, the image and
versions, times, tokens and cost are shown, but runs that differ in nothing else are the same. Paths of the two
sandboxes count as the same. Of a folder of expected results every file has to be in the run's results.

Exit codes: 0 they are the same, 1 they are not, 2 bad input (no such run, neither is a run).
"""

_STYLES = {"same": "dim", "one": "red", "two": "green", "hint": "dim", "bad": "red"}


def declare(parser: argparse.ArgumentParser) -> None:
    run = f"{RUN_HELP} Or a bundle, or a folder of expected results."
    parser.add_argument("one", metavar="A", help=run)
    parser.add_argument("two", metavar="B", help="The other one, likewise.")
    page = "Write the diff as one HTML page that needs nothing else."
    parser.add_argument("--html", type=Path, metavar="FILE", help=page)
    add_force(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError, NotReadyError."""
    if arguments.html:
        require_place(arguments.html, "page", force=arguments.force)
    settings = Settings.load()
    with opened_side(settings, arguments.one) as one, opened_side(settings, arguments.two) as two:
        found = diff(one, two)
        if arguments.html:
            write_new(arguments.html, page_of(found))
        if arguments.json:
            put_json({**_json(found), "html": str(arguments.html.absolute()) if arguments.html else None})
        else:
            _print(found)
            if arguments.html:
                tell_written(arguments.html, "the diff as a page")
        return ExitCode.PASS if found.is_same else ExitCode.VERDICT_FAIL


def _print(found: Diff) -> None:
    from rich.text import Text  # slow to import, and --json does without

    from runbook_runner.cli.ui.console import make_console

    console = make_console()
    is_terminal = sys.stdout.isatty()

    def lines() -> Iterator[Text]:
        yield Text(f"- {printable_name(found.one.name)}", style="red")
        yield Text(f"+ {printable_name(found.two.name)}", style="green")
        for section in sections(found):
            yield from section_lines(section)
        differences = list(found.differences())
        if not differences:
            yield Text("✓ The two are the same.", style="bold green")
        else:
            more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
            told = ", ".join(printable_name(one) for one in differences[:3])
            yield Text(f"✗ The two differ: {told}{more}.", style="bold red")

    def section_lines(section: Section) -> Iterator[Text]:
        mark, style = ("✓", "green") if section.is_same else ("✗", "red")
        if section.is_same is None:
            mark, style = "·", "bold"
        yield Text(f"{mark} {section.title}", style=style)
        for kind, text in section.lines:
            for line in printable_output(text).expandtabs(4).splitlines():
                yield Text(f"  {line}", style=_STYLES.get(kind, ""), no_wrap=not section.is_prose)

    for line in lines():
        if is_terminal and line.no_wrap:
            console.print(line, no_wrap=True, overflow="ellipsis")
        else:
            console.print(line, soft_wrap=not is_terminal)


def _json(found: Diff) -> dict[str, Any]:
    sides = {"one": found.one, "two": found.two}
    calls = found.calls
    return {
        "same": found.is_same,
        **{key: {"name": side.name, "path": decoded_name(str(side.folder))} for key, side in sides.items()},
        "differences": [decoded_name(one) for one in found.differences()],
        "mission": found.mission,
        "spec": _changes(found.spec),
        "outcome": _changes(found.outcome),
        "phases": _changes(found.phases),
        "usage": _changes(found.usage),
        "tool_calls": {
            "one": calls.all[0],
            "two": calls.all[1],
            "first_difference": calls.first_difference,
            "aligned": [
                {
                    "kind": pair.kind,
                    "one": None if pair.one is None else calls.one[pair.one],
                    "two": None if pair.two is None else calls.two[pair.two],
                }
                for pair in calls.pairs
            ],
        }
        if calls
        else None,
        "results": {
            **{key: list(map(decoded_name, value)) for key, value in asdict(found.results).items() if key != "diffs"},
            "by_type": {decoded_name(path): list(told) for path, told in found.by_type.items()},
            "diffs": {decoded_name(path): text for path, text in found.results.diffs},
        },
    }


def _changes(changes: tuple[Change, ...]) -> list[dict[str, Any]]:
    return [change._asdict() for change in changes]
