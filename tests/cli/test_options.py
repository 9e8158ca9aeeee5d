"""What is read without typer is read just as typer does; what is not plainly right is left to typer."""

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from runbook_runner.cli.options import Command
from runbook_runner.cli.runs.replay import replay
from runbook_runner.cli.runs.run_options import run

PLAIN = [
    (run, "examples/hello"),
    (run, "-"),
    (run, "hello -p name=Ada --param=city=Rome -f a.csv --file b.csv --label k=v"),
    (run, "--agent codex --agent shell hello --sandbox=host -q"),
    (run, "hello --timeout 2.5 --pids 64 --max-cost 1 --max-tokens 10 --keep --dry-run --json"),
    (run, "hello --params p.yaml --input i.json --env-file .env --out there --secret A --secret B"),
    (run, "hello --network allowlist --allow-host pypi.org --apt jq --record-mode none --replay abc"),
    (replay, "0123abcd"),
    (replay, "a b script.yaml --until 3 --then script --on-miss=nearest --strict -q --json"),
]
LEFT_TO_TYPER = [
    (run, ""),
    (run, "a b"),
    (run, "hello --help"),
    (run, "hello --nonesuch"),
    (run, "hello --keep=yes"),
    (run, "hello --timeout soon"),
    (run, "hello --timeout -1"),
    (run, "hello --agent"),
    (run, "hello -pname=Ada"),
    (run, "-- hello"),
    (replay, "--strict"),
]


def read_by_typer(command: Command, line: str) -> object:
    """The arguments; `None` when they were refused, or help was shown."""
    seen = []
    app = typer.Typer()
    app.command()(Command(command.arguments, lambda given: seen.append(given) or 0).typed())
    CliRunner().invoke(app, line.split())
    return seen[0] if seen else None


@pytest.mark.parametrize(("command", "line"), PLAIN)
def test_plain_lines_are_read_as_typer_reads_them(command: Command, line: str) -> None:
    found = command.read(line.split())
    assert found is not None
    assert found == read_by_typer(command, line)


@pytest.mark.parametrize(("command", "line"), LEFT_TO_TYPER)
def test_everything_else_is_left_to_typer(command: Command, line: str) -> None:
    assert command.read(line.split()) is None


def test_an_empty_value_is_left_to_typer() -> None:
    assert run.read(["hello", "--agent", ""]) is None


@pytest.mark.parametrize(
    ("command", "told"),
    [("run", "[run] in .runbook/config.toml"), ("check", "[tool.runbook.check]"), ("check", "or [check] in .runbook")],
)
def test_the_help_names_the_tables_of_a_project(runbook: Any, command: str, told: str) -> None:
    shown = runbook(command, "--help", env={"COLUMNS": "200"})
    assert shown.code == 0
    assert told in " ".join(shown.out.split())
