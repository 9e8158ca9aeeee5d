"""Command line: `runbook runs reindex`."""

import argparse
import sys

from runbook_runner.cli.options import add_json
from runbook_runner.cli.ui.output import put_json
from runbook_runner.core.errors import ExitCode
from runbook_runner.core.settings import Settings
from runbook_runner.core.text import counted
from runbook_runner.trajectory.index.index import index_path, rebuilt

DESCRIPTION = """\
The index is a cache in your data folder (RUNBOOK_DATA): the trajectory folders are the truth, and none of them is
changed. It is made anew by itself when it is missing or damaged.

Exit codes: 0 done, 3 RUNBOOK_HOME is not a folder.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Raises NotReadyError."""
    settings = Settings.load()
    home = settings.require_home(each_run=False)
    count, file = rebuilt(home, settings.data), index_path(home, settings.data)
    if arguments.json:
        put_json({"runs": count, "index": str(file)})
    else:
        sys.stdout.write(f"{counted(count, 'run')} of {home} in the index.\n")
    return ExitCode.PASS
