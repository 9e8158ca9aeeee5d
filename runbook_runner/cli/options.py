"""Command line: options that several commands share, and the titles under which the help lists options."""

import argparse
from pathlib import Path
from typing import Any

WHAT, HOW, MODEL, FORK, OUTPUT = "What to run", "Where and how", "Agent and model", "Fork", "Output"

OptionGroup = argparse._ArgumentGroup | argparse.ArgumentParser
"""Where options are added."""

REPEATED: dict[str, Any] = {"action": "append", "default": []}
"""Settings of an option that may be given several times."""


def add_json(group: OptionGroup, text: str = "Print one JSON object on stdout.") -> None:
    error = "An error is one as well, with status (error), error, error_code and exit_code; its text is on stderr."
    group.add_argument("--json", action="store_true", help=f"{text} {error}")


def add_quiet(group: OptionGroup, text: str = "Print only errors.") -> None:
    group.add_argument("-q", "--quiet", action="store_true", help=text)


def add_dry_run(group: OptionGroup, text: str) -> None:
    group.add_argument("--dry-run", action="store_true", help=text)


def add_force(group: OptionGroup) -> None:
    group.add_argument("--force", action="store_true", help="Replace the file if there is one already.")


def add_env_file(group: OptionGroup, text: str) -> None:
    group.add_argument("--env-file", type=Path, metavar="FILE", help=text)


def add_secrets(group: OptionGroup) -> None:
    text = "A variable of this machine that the agent gets as a secret; may be repeated."
    group.add_argument("--secret", dest="secrets", **REPEATED, metavar="NAME", help=text)


def add_trust(group: OptionGroup) -> None:
    text = (
        "Trust, for this command, what it uses of the project (snapshots, agents) and the variables of your "
        "environment that the runbook wants, providers' keys excepted."
    )
    group.add_argument("--trust", action="store_true", help=text)


def add_keep(group: OptionGroup) -> None:
    group.add_argument("--keep", action="store_true", help="Keep the sandbox after the run.")


def add_output(group: OptionGroup) -> None:
    """The options of commands that run something."""
    group.add_argument("--out", type=Path, metavar="DIR", help="Copy the results into this folder as well.")
    add_quiet(group, "Print only errors, and what is to be known of a run that passed.")
    add_json(group, "Print one JSON object on stdout; everything else goes to stderr.")


def add_on_miss(group: OptionGroup, when: str) -> None:
    """when: the words that say which model calls are meant."""
    group.add_argument(
        "--on-miss",
        choices=("stop", "live", "nearest"),
        default="stop",
        metavar="stop|live|nearest",
        help=f"{when}: end the run, ask the provider, or take the nearest recorded answer (default: stop).",
    )


def add_shell_command(group: OptionGroup) -> None:
    text = "Run this command instead of a shell."
    command = group.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help=text)
    command.required = False  # argparse would name it among the missing arguments


def given_fields(kind: type, arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments that are named as fields of a dataclass, to make one of."""
    given = {name: getattr(arguments, name) for name in kind.__annotations__ if hasattr(arguments, name)}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
