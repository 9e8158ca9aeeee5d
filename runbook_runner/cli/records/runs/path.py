"""Command line: `runbook runs path`."""

import argparse

from runbook_runner.cli.options import add_json
from runbook_runner.cli.records.runs.common import add_run, folder_of
from runbook_runner.cli.ui.output import put, put_json
from runbook_runner.core.errors import ExitCode
from runbook_runner.core.text import decoded_name

DESCRIPTION = """\
For scripts: `cd "$(runbook runs path @last)"`.

Exit codes: 0 printed, 2 there is no such run.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError, NotReadyError."""
    folder = folder_of(arguments.run)
    if arguments.json:
        put_json({"trajectory_id": folder.name, "path": decoded_name(str(folder))})
    else:
        put(f"{folder}\n")
    return ExitCode.PASS
