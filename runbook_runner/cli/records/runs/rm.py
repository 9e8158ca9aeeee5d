"""Command line: `runbook runs rm`."""

import argparse
import sys
from pathlib import Path

from runbook_runner.cli.options import add_dry_run, add_json
from runbook_runner.cli.records.runs.common import RUN_HELP, folder_of
from runbook_runner.cli.ui.output import put_json
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.settings import Settings
from runbook_runner.runner.recovery.claims import is_alive
from runbook_runner.runner.recovery.removal import doubt_about_end, remove_rest, remove_run
from runbook_runner.trajectory.folders import TRAJECTORIES
from runbook_runner.trajectory.index.rows import read_row

DESCRIPTION = """\
With all that was recorded of them. A live run is never removed; one whose end is not known, or whose results may still
be in its sandbox, only with --force: another user's process may have it. All names are looked up before the first run
is removed.

Exit codes: 0 removed, 2 bad input, 3 a folder can't be removed.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="ID", help=RUN_HELP)
    parser.add_argument("--force", action="store_true", help="Also runs whose end is not known; never live ones.")
    add_dry_run(parser, "Show what would be removed; remove nothing.")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError, NotReadyError, SandboxError."""
    settings = Settings.load()
    folders = list(dict.fromkeys(_in_home(folder_of(name), settings) for name in arguments.runs))
    for folder in folders:
        _require_removable(folder, settings, force=arguments.force)
    for folder in () if arguments.dry_run else folders:
        remove_run(settings.data, folder)
    if not arguments.dry_run:
        remove_rest({folder.parent for folder in folders})
    if arguments.json:
        put_json({"dry_run": arguments.dry_run, "removed": [str(folder) for folder in folders]})
    else:
        did = "would remove" if arguments.dry_run else "removed"
        sys.stdout.writelines(f"{did} {folder}\n" for folder in folders)
    return ExitCode.PASS


def _in_home(folder: Path, settings: Settings) -> Path:
    """A folder elsewhere only looks like a run of this program. Raises InputError."""
    real, top = folder.resolve(), (settings.home / TRAJECTORIES).resolve()
    if real.parent.parent.parent != top:
        raise InputError("This folder is not one of the runs in RUNBOOK_HOME.", where=str(folder))
    return real


def _require_removable(folder: Path, settings: Settings, *, force: bool) -> None:
    if is_alive(settings.data, folder):
        raise InputError(f"Run {folder.name} is live.", hint=f"`runbook runs cancel {folder.name}` ends it.")
    read = read_row(str(folder.parents[2]), "/".join(folder.parts[-3:]))
    if not force and (doubt := doubt_about_end(settings.data, folder, read.row if read else None)):
        hint = "`runbook clean` finishes a run whose process is dead; --force removes it as it is."
        raise InputError(f"Run {folder.name} can't be removed: {doubt}.", hint=hint)
