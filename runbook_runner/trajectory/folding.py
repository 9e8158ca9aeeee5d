"""Trajectory: writes the fold of a run's log. Apart from `store`: starting a run needs none of what folding takes."""

import json
from pathlib import Path

from runbook_runner.core.errors import RecordingError
from runbook_runner.core.files import write_atomically
from runbook_runner.trajectory.atif import to_atif
from runbook_runner.trajectory.fold import fold
from runbook_runner.trajectory.models import Trajectory
from runbook_runner.trajectory.store import read_events

TRAJECTORY_FILE = "trajectory.json"


def write_fold(folder: Path) -> Trajectory:
    """Folds the log of a folder into its `trajectory.json` and `agent/atif.json`. Raises RecordingError."""
    events = list(read_events(folder))
    trajectory = fold(events)
    try:
        write_atomically(folder / TRAJECTORY_FILE, trajectory.model_dump_json(indent=1) + "\n")
        write_atomically(
            folder / "agent" / "atif.json", json.dumps(to_atif(events), indent=1, ensure_ascii=False) + "\n"
        )
    except OSError as error:
        raise RecordingError(
            f"Can't write the trajectory: {error.strerror}.",
            where=str(folder),
            hint="Its event log is complete; make room and run `runbook` again to have it folded.",
        ) from error
    return trajectory
