"""Runner: a replay takes the place of the recording beside a RUNBOOK.md."""

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from runbook_runner.core.disk.links import copy_tree
from runbook_runner.core.disk.repository import within_repository
from runbook_runner.core.errors import InputError, RecordingError
from runbook_runner.core.settings import RUNBOOK_FILE, Settings
from runbook_runner.runner.replay.prepare import RECORDING, document_of


def require_renewable(names: Iterable[str]) -> None:
    """names: of what is to be replayed. Raises InputError when a replay of it could be no recording."""
    for name in names:
        if document_of(name) is None:
            hint = f"--update renews the {RECORDING}/ beside a {RUNBOOK_FILE}; a trajectory stays as it is."
            raise InputError(f"{name!r} is not a {RUNBOOK_FILE}.", hint=hint)
    if Settings.load().record_mode != "full":
        raise InputError("--update needs the whole model calls.", hint="Unset RUNBOOK_RECORD_MODE.")


def renew(document: Path, trajectory: Path) -> None:
    """Puts a copy of this trajectory's folder in the place of the recording, which stays when that fails. Raises
    RecordingError."""
    try:
        recording = within_repository(document.parent) / RECORDING
        with TemporaryDirectory(prefix=f".{RECORDING}-", dir=recording.parent) as aside:
            new, old = Path(aside, "new"), Path(aside, "old")
            new.mkdir()
            copy_tree(trajectory, new)
            recording.rename(old)
            try:
                new.rename(recording)
            finally:
                if not recording.exists():
                    old.rename(recording)
    except OSError as error:
        where = str(error.filename or document.parent)
        message = f"The recording can't be renewed: {error.strerror}."
        raise RecordingError(message, where=where, hint=f"The replay itself is in {trajectory}.") from error
