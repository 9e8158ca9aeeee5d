"""Command line: the request that the options of `runbook run` and `runbook eval` make."""

import argparse
from pathlib import Path

from runbook_runner.cli.options import given_fields
from runbook_runner.core.errors import InputError
from runbook_runner.runner import RunOptions, RunRequest


def request_of(arguments: argparse.Namespace) -> RunRequest:
    """Every option is named as the field it fills. Raises InputError."""
    asked = given_fields(RunRequest, arguments)
    asked["parameters"] = _pairs(arguments.parameters, "-p", "NAME=VALUE")
    asked["labels"] = _pairs(getattr(arguments, "labels", []), "--label", "KEY=VALUE")
    options = RunOptions(**given_fields(RunOptions, arguments))
    return RunRequest(document=str(arguments.path), near=(Path.cwd(),), options=options, **asked)


def _pairs(texts: list[str], option: str, form: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        name = name.strip()
        if not separator or not name:
            raise InputError(f"{option} {text!r} is not of the form {form}.")
        if name in pairs:
            raise InputError(f"{option} gives {name!r} twice.")
        pairs[name] = value
    return pairs
