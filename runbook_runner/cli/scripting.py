"""Command line: what `runbook script from` does: a recording as an editable model script."""

import sys
from pathlib import Path

from runbook_runner.core.errors import InputError
from runbook_runner.core.files import write_atomically
from runbook_runner.core.settings import Settings
from runbook_runner.gateway.replay.index import open_library
from runbook_runner.gateway.script.from_recording import script_from
from runbook_runner.runner.recorded_run import read_parent


def execute(trajectory: str, out: Path | None) -> None:
    """Raises InputError for what can't be read or written."""
    parent = read_parent(Settings.load().home, trajectory)
    spec = parent.spec
    where = f"{spec.collection}/{spec.task} {parent.trajectory_id}"
    head = f"# What {spec.model or 'the model'} answered {spec.agent} in {where}.\n"
    text = head + script_from(open_library(parent.recording))
    if out is None:
        sys.stdout.write(text)
        return
    try:
        write_atomically(out, text)
    except OSError as error:
        raise InputError(f"The script can't be written: {error.strerror}.", where=str(out)) from error
