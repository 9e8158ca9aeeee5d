"""Command line: `runbook import`."""

import argparse
import sys
from pathlib import Path

from runbook_runner.cli.options import add_json
from runbook_runner.cli.ui.output import put_json, warn
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.settings import Settings
from runbook_runner.core.text import printable_name

DESCRIPTION = """\
What the file is, is seen from its content: a bundle (which `runbook runs bundle` wrote: the run is here as it was
there, with its labels, and can be replayed), ATIF (of any program that writes it), a trajectory of the hosted platform
as JSON, a zip of a trajectory folder, a zip as the platform's download has it, a session file of Claude Code
(`~/.claude/projects/…/*.jsonl`) or of Codex (`~/.codex/sessions/…/rollout-*.jsonl`).

The run becomes a trajectory folder with the times of the original; what looks like a key is removed. The file is kept
in `imported/` there. Nothing of it is run, and nothing is written when it is broken.

The folder of a run that is recorded here already, but came with a clone or was moved with its project, makes that run
yours: @last may be it, and `runbook runs prune` may remove it.

Exit codes: 0 recorded, 2 bad input, 3 RUNBOOK_HOME can't be written to.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="The file to import, or a folder of a run here.")
    task = "Record it there (default: as the file says, else imported/ and the kind of file)."
    parser.add_argument("--task", metavar="COLLECTION/TASK", help=task)
    parser.add_argument("--id", metavar="ID", help="The trajectory id (default: the file's own, else a new one).")
    replace = "Replace an import of this task that has the same id and no more in it; labels and verdicts of it stay."
    parser.add_argument("--replace", action="store_true", help=replace)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError for a file that can't be imported, RecordingError when it can't be recorded."""
    from runbook_runner.runner.imports.read import import_file

    collection, task = None, None
    if arguments.task is not None:
        collection, separator, task = arguments.task.partition("/")
        if not separator:
            raise InputError("--task has the form COLLECTION/TASK.", hint=f"Such as `--task imported/{collection}`.")
    settings = Settings.load()
    made = import_file(
        settings.require_home(),
        arguments.file,
        data=settings.data,
        collection=collection,
        task=task,
        trajectory_id=arguments.id,
        replace=arguments.replace,
    )
    for note in made.notes:
        warn(note)
    if made.replaced is not None:
        warn(f"the run {made.trajectory_id} that was here is replaced: {printable_name(made.replaced)}")
    if arguments.json:
        body = {"trajectory_id": made.trajectory_id, "collection": made.collection, "task": made.task}
        put_json(
            {**body, "path": str(made.folder), "form": made.form, "notes": list(made.notes), "replaced": made.replaced}
        )
    else:
        said = "A run of yours from now on:" if made.was_here else f"Recorded {made.form} as"
        sys.stdout.write(
            f"{said} {made.collection}/{made.task} {made.trajectory_id}: {made.folder}\n"
            f"Next: runbook runs show {made.trajectory_id}\n"
        )
    return ExitCode.PASS
