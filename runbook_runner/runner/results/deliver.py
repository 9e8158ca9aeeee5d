"""Runner: copies the results of a run to where its user wants them as well."""

from dataclasses import replace
from pathlib import Path

from runbook_runner.core.disk.links import copy_tree
from runbook_runner.core.disk.repository import within_repository
from runbook_runner.core.errors import InputError
from runbook_runner.core.files import make_folder
from runbook_runner.runner.outcome import Outcome
from runbook_runner.runner.request.places import folder_for_results
from runbook_runner.trajectory.folders import RESULTS


def make_place(out: Path) -> None:
    """Before anything runs. Raises InputError."""
    try:
        make_folder(folder_for_results(out))
    except OSError as error:
        raise InputError(f"The results can't be copied there: {error.strerror}.", where=str(out)) from error


def deliver(outcome: Outcome, out: Path) -> Outcome:
    """Returns it with why the results could not be copied, if so."""
    results = outcome.folder / RESULTS
    try:
        copy_tree(results, within_repository(out, links=False))
    except OSError as error:
        where, hint = error.filename or str(out), f"They are in {results}."
        failed = InputError(f"The results can't be copied: {error.strerror}.", where=where, hint=hint)
        return replace(outcome, not_copied=failed)
    return outcome
