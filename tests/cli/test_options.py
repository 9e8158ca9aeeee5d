"""The command line as one types it: options in any order, help that names each, and what is said of a wrong one."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.cli.app import COMMANDS, Group, call, root_parser
from runbook_runner.core.errors import InputError


def read(line: str) -> argparse.Namespace:
    return root_parser().parse_args(line.split())


def commands() -> Iterator[str]:
    for name, entry in COMMANDS.items():
        yield name
        if isinstance(entry, Group):
            yield from (f"{name} {child}" for child in entry.commands)


def actions_of(command: str) -> list[argparse.Action]:
    parser: Any = root_parser(complete=True)
    for word in command.split():
        (groups,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        parser = groups.choices[word]
    return list(parser._actions)


def options_of(command: str) -> set[str]:
    return {option for action in actions_of(command) for option in action.option_strings}


def test_the_readme_names_whole_commands() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    named = re.findall(r"(?:`|^|&& )runbook ([a-z-]+)(?: ([a-z]+))?", readme, re.MULTILINE)
    assert len(named) > 30
    for name, child in named:
        entry = COMMANDS[name]
        assert not isinstance(entry, Group) or child in entry.commands, name


def test_options_and_arguments_come_in_any_order() -> None:
    found = read("run -p name=Ada hello --param=city=Rome -f a.csv --file b.csv -q --label k=v")
    assert found.path == "hello"
    assert found.parameters == ["name=Ada", "city=Rome"]
    assert found.files == [Path("a.csv"), Path("b.csv")]
    assert (found.quiet, found.labels) == (True, ["k=v"])
    assert read("check a.md --fix b.md --select RB3 c.md").paths == ["a.md", "b.md", "c.md"]
    assert read("replay a --strict b --until 3 script.yaml --then script").trajectories == ["a", "b", "script.yaml"]


def test_values_have_their_types_and_the_last_one_counts() -> None:
    found = read("run - --timeout 2.5 --pids 64 --max-cost 1 --agent codex --agent shell --sandbox=host")
    assert (found.path, found.timeout_s, found.pids, found.max_cost_usd) == ("-", 2.5, 64, 1.0)
    assert (found.agent, found.sandbox, found.on_miss, found.keep) == ("shell", "host", "stop", False)


def test_a_value_may_begin_with_a_dash_behind_an_equals_sign() -> None:
    assert read("run hello --model=-x -pname=Ada").model == "-x"


def test_what_follows_two_dashes_is_an_argument() -> None:
    assert read("check --format github -- -odd.md b.md").paths == ["-odd.md", "b.md"]
    assert read("run -q -- -hello").path == "-hello"
    found = read("shell --network none python312-uv -- sh -c exit -- -x")
    assert (found.name, found.command) == ("python312-uv", ["sh", "-c", "exit", "--", "-x"])
    assert read("attach 0123abcd").command == []
    assert read("cost --").by == "model"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("chekc", "Unknown command 'chekc'.\nDid you mean 'check'? See `runbook --help`."),
        ("snapshots buidl", "Unknown command 'buidl'.\nDid you mean 'build'? See `runbook snapshots --help`."),
        ("--verson", "Unknown option '--verson'.\nDid you mean '--version'? See `runbook --help`."),
        ("run --agnet=x y", "Unknown option '--agnet'.\nDid you mean '--agent'? See `runbook run --help`."),
        ("run --age x y", "Unknown option '--age'."),
        ("run --bogus x", "Unknown option '--bogus'.\nSee `runbook run --help`."),
        ("helpp", "Unknown command 'helpp'."),
        ("-x run", "Unknown option '-x'.\nSee `runbook --help`."),
        ("snapshots -x build", "Unknown option '-x'.\nSee `runbook snapshots --help`."),
        ("check --format sarfi", "Unknown --format 'sarfi'.\nDid you mean 'sarif'? See `runbook check --help`."),
        ("check . --json", "Unknown option '--json'.\nDid you mean '--format json'? See `runbook check --help`."),
        ("cost --by colour", "Unknown --by 'colour'.\nKnown: model, task, day. See `runbook cost --help`."),
        ("run", "The following arguments are required: PATH.\nSee `runbook run --help`."),
        ("shell", "The following arguments are required: SNAPSHOT|TRAJECTORY."),
        ("snapshots export a", "The following arguments are required: -o/--out."),
        ("run a b", "Unexpected argument 'b'."),
        ("cost a", "Unexpected argument 'a'."),
        ("run a --timeout 5m", "--timeout must be a number of seconds, such as 300.\nSee `runbook run --help`."),
        ("run a --cpus two", "--cpus must be a number of cores, such as 1.5."),
        ("run a --max-cost=$1", "--max-cost must be an amount of USD, such as 0.50."),
        ("run a --pids 1.5", "--pids must be a whole number, such as 20."),
        ("replay a --until x", "--until must be a whole number, such as 20."),
        ("run a --agent", "Argument --agent: expected one argument."),
        ("run a --agent --json", "Argument --agent: expected one argument."),
        ("run a --keep=yes", "Argument --keep: ignored explicit argument 'yes'."),
    ],
)
def test_a_wrong_line_is_told_with_what_to_do(line: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        read(line)
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize("command", list(commands()))
def test_every_option_that_takes_a_number_says_so(command: str) -> None:
    for action in actions_of(command):
        if action.type in (int, float):
            with pytest.raises(InputError, match=rf"^{action.option_strings[-1]} must be an? .*number|amount"):
                read(f"{command} {action.option_strings[-1]} x")


@pytest.mark.parametrize("line", ["chekc", "run --agnet x y", "check --fxi"])
def test_wrong_usage_is_exit_code_2(runbook: Any, line: str) -> None:
    ran = runbook(*line.split())
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: Unknown ")
    assert "Did you mean" in ran.err


@pytest.mark.parametrize(
    "option", ["--task", "--image", "--agent", "--model", "--secret", "-p", "--params", "--sandbox"]
)
def test_an_option_without_a_text_is_refused(option: str) -> None:
    with pytest.raises(InputError, match=r"The value of -[-a-z]+ is empty\.\nSee `runbook run --help`\."):
        call(["run", "x", option, ""])


@pytest.mark.parametrize(
    "command", ["run", "check", "replay", "attach", "shell", "script from", "snapshots build", "new"]
)
@pytest.mark.parametrize("blank", ["", " "])
def test_an_argument_without_a_text_is_refused(runbook: Any, command: str, blank: str) -> None:
    ran = runbook(*command.split(), blank)
    assert (ran.code, ran.out) == (2, "")
    assert f" is empty.\nSee `runbook {command} --help`." in ran.err


def test_what_may_be_empty() -> None:
    assert read("run x -p name=").parameters == ["name="]
    assert root_parser().parse_args(["shell", "x", "--", "sh", "-c", ""]).command == ["sh", "-c", ""]
    assert root_parser().parse_args(["new", "x", "--from-description", ""]).description == ""


@pytest.mark.parametrize("command", ["", "run", "snapshots build"])
def test_help_is_a_command_as_well(runbook: Any, command: str) -> None:
    shown = runbook("help", *command.split())
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == runbook(*command.split(), "--help").out


def test_help_of_a_command_that_does_not_exist() -> None:
    with pytest.raises(InputError, match=r"Unknown command 'chekc'\.\nDid you mean 'check'\?"):
        call(["help", "chekc"])


@pytest.mark.parametrize("line", ["", "snapshots", "script"])
def test_without_a_command_the_help_is_printed(runbook: Any, line: str) -> None:
    ran = runbook(*line.split())
    assert (ran.code, ran.err) == (2, "")
    assert "Commands:" in ran.out


def test_the_help_lists_every_command(runbook: Any) -> None:
    shown = runbook("-h")
    assert shown.code == 0
    rows = shown.out.partition("Commands:\n")[2].splitlines()
    assert [row.split()[0] for row in rows if row[2] != " "] == [*COMMANDS]


@pytest.mark.parametrize("command", [*commands()])
def test_the_help_of_every_command_names_each_option(runbook: Any, command: str) -> None:
    shown = runbook(*command.split(), "--help", env={"COLUMNS": "60"})
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith(f"Usage: runbook {command} ")
    assert options_of(command) <= {word.strip(",") for word in shown.out.split()}


@pytest.mark.parametrize(
    ("command", "told"),
    [("run", "[run] in .runbook/config.toml"), ("check", "[tool.runbook.check]"), ("check", "or [check] in .runbook")],
)
def test_the_help_names_the_tables_of_a_project(runbook: Any, command: str, told: str) -> None:
    shown = runbook(command, "--help", env={"COLUMNS": "200"})
    assert shown.code == 0
    assert told in " ".join(shown.out.split())


def test_an_example_in_the_help_keeps_its_lines(runbook):
    lines = runbook("eval", "--help", env={"COLUMNS": "80"}).out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("  runbooks: ["))
    assert [line.split(":")[0] for line in lines[at : at + 4]] == ["  runbooks", "  cases", "  agents", "  repeats"]
    assert (lines[at - 1], lines[at + 4]) == ("", "")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["runs", "list", "--model", "x\udcff"], r"The argument 'x\udcff' is not UTF-8."),
        (["runs", "label", "@last", "k=\udcff"], "is not UTF-8."),
        (["run", "x", "-p", "k=\udcff"], "is not UTF-8."),
        (["export", "@last", "--format", "\udcff"], "is not UTF-8."),
        (["runs", "show", "@last", "--step", "9" * 20], "--step must be a whole number, such as 20."),
        (["runs", "list", "--limit", "-" + "9" * 30], "--limit must be a whole number, such as 20."),
        (["pull", "a/b/c", "--api", f"https://{'a' * 300}/"], "This is not an address."),
    ],
)
def test_arguments_are_text_and_numbers_that_every_command_can_take(words: list[str], says: str) -> None:
    with pytest.raises(InputError) as caught:
        call(words)
    assert says in str(caught.value)


def test_a_file_may_have_a_name_that_is_not_text() -> None:
    parser = root_parser()
    assert parser.parse_args(["runs", "show", "a\udcff"]).run == "a\udcff"
    assert parser.parse_args(["import", "a\udcff"]).file == Path("a\udcff")
