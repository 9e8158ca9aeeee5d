"""Runner, doctor: what the checks share: the machine, of which each thing is asked once, and the shape of a finding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Literal

from runbook_runner.core.errors import RunbookError
from runbook_runner.core.settings import Settings
from runbook_runner.sandbox.backends import BACKENDS, Backend

if TYPE_CHECKING:
    from runbook_runner.sandbox.docker.engine import Engine

PATIENCE_S: Final = 5

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    check: str
    """Stable id, such as `engine` or `disk.trajectories`."""
    status: Status
    """`fail`: runs will not go through; `warn`: some will not, or not as well."""
    message: str
    fix: str | None = None
    """The command, or what else to do; `None` when nothing is to be done."""
    facts: Mapping[str, Any] = field(default_factory=dict)


def error_finding(check: str, status: Status, error: RunbookError) -> Finding:
    """Returns an error as a finding."""
    said = f"{error.where}: {error.message}" if error.where else error.message
    return Finding(check, status, f"{said} {error.details or ''}".strip(), error.hint)


class Machine:
    """What several checks need, found out once. Safe to be used by several threads."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], near: Sequence[Path], *, offline: bool):
        self.settings = settings
        self.environ = environ
        self.near = near
        self.offline = offline
        self._asking = Lock()
        self._answers: dict[str, Engine | RunbookError | None] = {}

    @property
    def engine(self) -> "Engine | None":
        """`None` when no backend with an engine works."""
        found = (self._answer(backend) for backend in BACKENDS.values() if backend.has_engine)
        return next((answer for answer in found if answer and not isinstance(answer, RunbookError)), None)

    def error_of(self, backend: Backend) -> RunbookError | None:
        """Why no sandbox of this backend can be started; `None` when one can."""
        answer = self._answer(backend)
        return answer if isinstance(answer, RunbookError) else None

    def _answer(self, backend: Backend) -> "Engine | RunbookError | None":
        with self._asking:
            if backend.name not in self._answers:
                self._answers[backend.name] = _ask(backend)
            return self._answers[backend.name]


def _ask(backend: Backend) -> "Engine | RunbookError | None":
    """Returns the engine of a backend that works, `None` when it works without an engine, or what it lacks."""
    try:
        opened = backend.open(PATIENCE_S)
        opened.require()
        if opened.engine:
            # An engine that accepts connections and then does not answer counts as absent; both are remembered.
            assert opened.engine.info is not None
            assert opened.engine.version is not None
    except RunbookError as error:
        return error
    return opened.engine
