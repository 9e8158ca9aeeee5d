"""Checkup: whether this machine can run runbooks, one finding for each thing that matters, with what mends it.

Each check is a function of `Machine` that yields findings; they run side by side, and what one finds out about the
engine the others wait for. None writes anything, starts a container or waits longer than `PATIENCE_S` for an answer.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Literal

from runbook_runner.core.errors import RunbookError
from runbook_runner.core.settings import Settings

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
    mend: str | None = None
    """The command, or what else to do."""
    facts: Mapping[str, Any] = field(default_factory=dict)


def trouble(check: str, status: Status, error: RunbookError) -> Finding:
    """What an error says, as a finding."""
    said = f"{error.where}: {error.message}" if error.where else error.message
    return Finding(check, status, f"{said} {error.details or ''}".strip(), error.hint)


class Machine:
    """What several checks need, found out once."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], near: Sequence[Path], *, offline: bool):
        self.settings = settings
        self.environ = environ
        self.near = near
        self.offline = offline
        self._asking = Lock()

    @property
    def engine(self) -> "Engine | None":
        found = self._connected
        return None if isinstance(found, RunbookError) else found

    @property
    def engine_trouble(self) -> RunbookError | None:
        found = self._connected
        return found if isinstance(found, RunbookError) else None

    @property
    def bubblewrap_trouble(self) -> RunbookError | None:
        with self._asking:
            return self._bubblewrap

    @property
    def _connected(self) -> "Engine | RunbookError":
        with self._asking:
            return self._engine

    @cached_property
    def _engine(self) -> "Engine | RunbookError":
        from runbook_runner.sandbox.docker.engine import connect

        try:
            engine = connect(PATIENCE_S)
            # One that accepts and then says nothing counts as absent; asked now, remembered for the other checks.
            assert engine.info is not None
            assert engine.version is not None
        except RunbookError as error:
            return error
        return engine

    @cached_property
    def _bubblewrap(self) -> RunbookError | None:
        from runbook_runner.sandbox.local.bubblewrap import require_bubblewrap

        try:
            require_bubblewrap()
        except RunbookError as error:
            return error
        return None


Check = Callable[[Machine], Iterator[Finding]]


def examine(machine: Machine) -> tuple[Finding, ...]:
    """Every finding, in the order of the checks."""
    from runbook_runner.runner.doctor import engines, offline, tools

    checks: list[Check] = [
        engines.sandboxes,
        engines.engine,
        engines.limits,
        engines.bubblewrap,
        engines.networks,
        engines.disk,
        tools.images,
        tools.agents,
        tools.keys,
        tools.certificates,
        *([offline.readiness] if machine.offline else []),
    ]
    with ThreadPoolExecutor(len(checks), "checkup") as pool:
        return tuple(finding for found in pool.map(lambda check: list(check(machine)), checks) for finding in found)
