"""Runner, recovery: cancels a live run of another process, in order and alone, by a file beside its claim.

No process id is believed and no signal is sent: the process may have other runs."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from runbook_runner.core.errors import InputError, RecordingError
from runbook_runner.runner.cancellation import Cancellation
from runbook_runner.runner.recovery.claims import Claim, claims_of, if_dead, wish_to_end
from runbook_runner.runner.recovery.recover import recover_dead
from runbook_runner.runner.request.variables import UserVariables
from runbook_runner.sandbox.backends import open_engines

_LOOKS_S: Final = 0.5
_WAITS_S: Final = 0.1
Ended = Literal["cancelled", "recovered", "stopping"]
"""It has ended; it was dead and is finished now; it still collects its results."""


@contextmanager
def cancelled_by_others(claim: Claim, cancellation: Cancellation) -> Iterator[None]:
    """In this block the run stops when a process of this user asks for it."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOKS_S):
            if claim.is_wished_to_end():
                cancellation.request()
                return

    watcher = threading.Thread(target=look, name="cancel", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def cancel(data: Path, folder: Path, *, within: float, variables: UserVariables) -> Ended:
    """Asks the run of this trajectory folder to stop, and waits so many seconds for its end. A run whose process is
    dead is finished as `recover_dead` does. Raises RunbookError."""
    claims = [claim for claim in claims_of(data, folder) if claim.entry and not claim.entry.settled]
    if not claims:
        hint = "A run of another user, or of another RUNBOOK_DATA, can be cancelled only there."
        raise InputError("No live run of yours is recorded there.", where=str(folder), hint=hint)
    claim, until, asked = claims[0], time.monotonic() + within, False
    while claim.lock.exists():
        with if_dead(claim, look_only=True) as dead:
            pass
        if dead and asked and not claim.lock.exists():
            break
        if dead:
            engines, _ = open_engines()
            for run in recover_dead(data, engines, variables=variables, only=claim.name):
                if run.problem:
                    raise run.problem
            return "recovered"
        if not asked:
            try:
                wish_to_end(claim)
            except OSError as error:
                raise RecordingError(f"The run can't be asked to stop: {error.strerror}.", where=str(data)) from error
            asked = True
        if time.monotonic() >= until:
            return "stopping"
        time.sleep(_WAITS_S)
    return "cancelled"
