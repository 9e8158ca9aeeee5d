"""Runner, watch: what a session tells, and to whom: a terminal, or another edge."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from runbook_runner.core.errors import RunbookError
from runbook_runner.runner.cancellation import Cancellation
from runbook_runner.runner.outcome import Outcome
from runbook_runner.runner.request.prepared_run import PreparedRun
from runbook_runner.runner.watch.contents import Change
from runbook_runner.runner.watch.recordings import Saved
from runbook_runner.trajectory.recorder import Reader

OnBusy = Literal["cancel", "queue"]


@dataclass(frozen=True)
class Repeated:
    """A run of the session that is over."""

    prepared: PreparedRun
    outcome: Outcome | None
    """`None`: it could not be recorded, see `error`."""
    error: BaseException | None
    saved: Saved


class Edge(Protocol):
    """Shows a session. All but `running` is called in the session's thread."""

    def changed(self, changes: Sequence[Change]) -> None: ...

    def checked(self) -> bool:
        """Checks the runbook and shows what was found. Returns whether it can be run: there is no error in it."""

    def refused(self, error: RunbookError) -> None:
        """It can't be run as it is."""

    def busy(self, on_busy: OnBusy) -> None:
        """A run is under way, and is cancelled now, or ends before the next one."""

    def running(self, prepared: PreparedRun, cancellation: Cancellation) -> AbstractContextManager[Sequence[Reader]]:
        """Around each run, in the run's thread; what it yields gets the events."""

    def ended(self, repeated: Repeated) -> None: ...

    def waits(self, *, check_only: bool) -> None:
        """Until something is saved."""

    def warn(self, message: str) -> None: ...
