"""Command line: `runbook run`: arguments → request → prepared run → summary or JSON."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from runbook_runner.cli.options import given_fields
from runbook_runner.cli.runs.attempts import described, follow_attempts
from runbook_runner.cli.runs.dry_run import print_plan
from runbook_runner.cli.runs.publish import publish_run, require_places
from runbook_runner.cli.runs.run_options import declare
from runbook_runner.cli.ui.follow import ask_on_terminal, console_for, print_briefly
from runbook_runner.cli.ui.output import after_json, put_json
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.text import encodable
from runbook_runner.evaluation.gates import parse_gate
from runbook_runner.runbook.sources.load import load
from runbook_runner.runner import RunOptions, RunRequest, prepare

__all__ = ["DESCRIPTION", "declare", "execute"]

DESCRIPTION = """\
Exit codes: 0 passed, 1 the verdict is fail or a gate does not hold, 2 bad input, 3 this machine is not ready, 4 the
agent failed or ran out of time, 5 a bug, 130 interrupted.
"""


def execute(arguments: argparse.Namespace) -> int:
    """Runs and reports; the exit code. Raises RunbookError for what was wrong before anything was recorded."""
    gates = tuple(map(parse_gate, arguments.gates))
    require_places(arguments)
    request = _request(arguments)
    source = load(arguments.path)
    prepared = prepare(replace(request, document=source), None if arguments.dry_run else ask_on_terminal())
    if arguments.dry_run:
        print_plan(prepared, as_json=arguments.json)
        with after_json():
            prepared.require_ready()
        return ExitCode.PASS
    console = console_for(quiet=arguments.quiet, json=arguments.json)
    followed, attempts = follow_attempts(prepared, console, gates, arguments.attempts)
    if arguments.quiet:
        print_briefly(followed, followed.problem())
    if arguments.json:
        put_json({**followed.json(), **({"attempts": described(attempts)} if arguments.attempts > 1 else {})})
    with after_json():
        publish_run(arguments, followed, source.name)
        followed.require_copied()
    return ExitCode.INTERRUPTED if attempts.cancelled else followed.exit_code


def _request(arguments: argparse.Namespace) -> RunRequest:
    """Every option is named as the field it fills."""
    _require_utf8({name: value for name, value in vars(arguments).items() if name != "path"})
    asked = given_fields(RunRequest, arguments)
    asked["parameters"] = _pairs(arguments.parameters, "-p", "NAME=VALUE")
    asked["labels"] = _pairs(arguments.labels, "--label", "KEY=VALUE")
    options = RunOptions(**given_fields(RunOptions, arguments))
    return RunRequest(document=arguments.path, near=(Path.cwd(),), options=options, **asked)


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
