"""Runner, request: the folders of this machine that a run writes to: its record, the user's data, the copy of its
results. Whether it may is asked before it begins."""

import os
from collections.abc import Iterator
from errno import ELOOP
from pathlib import Path

from runbook_runner.core.disk.private import private_folder
from runbook_runner.core.disk.repository import within_repository
from runbook_runner.core.errors import InputError, NotReadyError, RunbookError
from runbook_runner.core.files import is_folder, why_closed
from runbook_runner.core.settings import Settings
from runbook_runner.core.spec import RunSpec
from runbook_runner.trajectory.folders import TRAJECTORIES


def closed_places(spec: RunSpec, asked: Settings, out: Path | None) -> Iterator[RunbookError]:
    """Yields an error for each place where this user can't write; makes nothing."""
    if problem := why_closed(asked.home / TRAJECTORIES / spec.collection / spec.task):
        hint = "Set RUNBOOK_HOME to a folder you may write to."
        yield NotReadyError(f"No run can be recorded here: {problem}.", where=str(asked.home), hint=hint)
    try:
        if is_folder(asked.data):
            private_folder(asked.data)
        if problem := why_closed(asked.data):
            hint = "Set RUNBOOK_DATA to a folder of yours."
            yield NotReadyError(f"The data folder can't be used: {problem}.", where=str(asked.data), hint=hint)
        if out:
            folder_for_results(out)
    except RunbookError as error:
        yield error


def folder_for_results(out: Path) -> Path:
    """The real path of the folder that the results are to be copied into. Raises InputError when they can't be."""
    try:
        folder = within_repository(out, links=False)
    except OSError as error:
        hint = f"If you mean it, name the folder itself: {os.path.realpath(out)}." if error.errno == ELOOP else None
        raise InputError(f"The results can't be copied there: {error.strerror}.", where=str(out), hint=hint) from error
    if problem := why_closed(folder):
        raise InputError(f"The results can't be copied there: {problem}.", where=str(out))
    return folder
