"""Command line, records: the argument that names a run."""

import argparse
from pathlib import Path

from runbook_runner.core.settings import Settings
from runbook_runner.trajectory.index.names import find_folder

RUN_HELP = "A run's id, the beginning of it, or its trajectory folder."


def add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="ID", help=RUN_HELP)


def folder_of(name: str) -> Path:
    """Raises InputError, NotReadyError."""
    return find_folder(Settings.load().require_home(), name)
