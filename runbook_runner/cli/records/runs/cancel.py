"""Command line: `runbook runs cancel`."""

import argparse
import sys
from typing import Any

from runbook_runner.cli.options import add_env_file, add_json
from runbook_runner.cli.records.runs.common import add_run, folder_of, require_no_end
from runbook_runner.cli.ui.output import put_json
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.settings import user_data
from runbook_runner.runner.recovery.cancel import cancel
from runbook_runner.runner.request.variables import user_variables
from runbook_runner.trajectory.overlay import read_trajectory

DESCRIPTION = """\
The run ends in order, as after Ctrl-C in its own terminal: what the agent has made until then is collected. Other runs
of the same process go on. A run whose process is dead is finished as `runbook clean` does it.

Exit codes: 0 it has ended, 2 no live run of yours is so called, or it had ended before, 3 it still collects its
results, or they can't be collected.
"""

_WITHIN_S = 60.0


def declare(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    text = f"Wait so long for its end (default: {_WITHIN_S:g})."
    parser.add_argument("--wait", type=float, default=_WITHIN_S, metavar="SECONDS", help=text)
    add_env_file(parser, "Take the secrets of a run whose process is dead from this file.")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Raises RunbookError."""
    if not 0 <= arguments.wait <= 86_400:
        raise InputError("This is a number of seconds from 0 to 86400.", where="--wait")
    folder = folder_of(arguments.run)
    variables = user_variables(arguments.env_file)
    try:
        ended = cancel(user_data(), folder, within=arguments.wait, variables=variables)
    except InputError:
        require_no_end(folder)
        raise
    body: dict[str, Any] = {} if ended == "stopping" else read_trajectory(folder)
    if arguments.json:
        put_json({"trajectory_id": folder.name, "ended": ended, "status": body.get("status"), "path": str(folder)})
    else:
        told = {
            "cancelled": f"has ended: {body.get('status')}",
            "recovered": "was dead and is finished now",
            "stopping": f"was asked to stop and has not ended yet; `runbook runs logs -f {folder.name}` shows how",
        }
        sys.stdout.write(f"{folder.name} {told[ended]}\n")
    return ExitCode.NOT_READY if ended == "stopping" else ExitCode.PASS
