"""Trajectory: the folders on disk, their files and their names. Layout:
`{home}/trajectories/{collection}/{task}/{trajectory_id}/` (design §6). Without pydantic, which is slow."""

from pathlib import Path

from runbook_runner.core import ids
from runbook_runner.core.disk.private import FOLDER
from runbook_runner.core.errors import InputError, RecordingError
from runbook_runner.core.files import make_folder, write_atomically

EVENTS_FILE = "events.jsonl"
TRAJECTORIES = "trajectories"
SPEC_FILE = "spec.json"
MOST_SPEC_BYTES = 64_000_000  # a runbook and its parameters have 5 MB each, and JSON escapes them
TRAJECTORY_FILE = "trajectory.json"
MISSION_FILE = "RUNBOOK.md"
LABELS_FILE = "labels.json"
RESULTS = "results"
AGENT = "agent"
CHECKS = "checks"
INPUTS = "inputs"
"""What an imported run's agent was given, by digest: each file byte for byte."""
IMPORTED = "imported"
"""What was imported, as it was but for what looks like a key."""
JUDGE = "judge"
"""The judge's model calls, as `model` has the agent's; a run that is not judged has no such folder."""
SESSIONS = f"{AGENT}/sessions"
COLLECTED = (RESULTS, SESSIONS)
"""Folders whose files and names come from the sandbox; the runner writes all others."""


class UnknownTrajectoryError(InputError):
    """No trajectory has that id."""


def create_folder(home: Path, collection: str, task: str) -> tuple[str, Path]:
    """A new trajectory id and its empty folder. Raises RecordingError when it can't be made."""
    parent = home / TRAJECTORIES / collection / task
    try:
        create_parent(home, parent)
        while True:
            trajectory_id = ids.new_trajectory_id()
            folder = parent / trajectory_id
            try:
                folder.mkdir(FOLDER)
            except FileExistsError:
                continue
            for name in (AGENT, "model", RESULTS):
                (folder / name).mkdir(FOLDER)
            return trajectory_id, folder
    except OSError as error:
        raise RecordingError(
            f"Can't make a folder for the run: {error.strerror}.",
            where=str(error.filename or parent),
            hint="Set RUNBOOK_HOME to a folder you may write to.",
        ) from error


def create_parent(home: Path, parent: Path) -> None:
    """Makes the folder of a task's trajectories where it is missing. Raises OSError."""
    make_folder(home)
    make_folder(parent, FOLDER)
    _keep_out_of_git(home / TRAJECTORIES)


def _keep_out_of_git(trajectories: Path) -> None:
    """Only these: agents and snapshots beside them are the project's."""
    ignore = trajectories / ".gitignore"
    if not ignore.exists():
        write_atomically(ignore, "*\n")
