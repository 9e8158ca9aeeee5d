"""Command line: the request that the options of `runbook run` and `runbook eval` make."""

import argparse
from pathlib import Path
from typing import Any

from runbook_runner.cli.options import given_fields
from runbook_runner.core.errors import InputError
from runbook_runner.core.text import encodable
from runbook_runner.runner import RunOptions, RunRequest


def request_of(arguments: argparse.Namespace) -> RunRequest:
    """Every option is named as the field it fills. Raises InputError."""
    _require_utf8({name: value for name, value in vars(arguments).items() if name != "path"})
    asked = given_fields(RunRequest, arguments)
    asked["parameters"] = _pairs(arguments.parameters, "-p", "NAME=VALUE")
    asked["labels"] = _pairs(getattr(arguments, "labels", []), "--label", "KEY=VALUE")
    options = RunOptions(**given_fields(RunOptions, arguments))
    return RunRequest(document=str(arguments.path), near=(Path.cwd(),), options=options, **asked)


def _require_utf8(given: dict[str, Any]) -> None:
    """Other bytes can't be written to files and into the sandbox as text. A path of a document may have them."""
    for value in given.values():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and encodable(text) != text:
                raise InputError(f"The argument {text!r} is not UTF-8.")


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
