"""Runner: a run that is under way: what each of its phases needs, and how it says what happens."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_runner.agents.base import Agent
from runbook_runner.core.events import Event, Log, PhaseFinished, PhaseStarted
from runbook_runner.core.redaction import Redactor
from runbook_runner.core.spec import RunSpec
from runbook_runner.runner.backends import Backend
from runbook_runner.runner.claims import Claim
from runbook_runner.runner.options import RunOptions
from runbook_runner.trajectory.recorder import Recorder

if TYPE_CHECKING:
    from runbook_runner.gateway import Upstream


class Emitter:
    """Appends events for one run, with the phases timed."""

    def __init__(self, recorder: Recorder):
        self._recorder = recorder

    def __call__(self, event: Event) -> None:
        self._recorder.append(event)

    def warn(self, message: str) -> None:
        self(Log(level="warning", message=message))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        self(PhaseStarted(phase=name))
        yield
        self(PhaseFinished(phase=name, seconds=round(time.monotonic() - began, 3)))


@dataclass(frozen=True)
class Run:
    spec: RunSpec
    options: RunOptions
    agent: Agent
    backend: Backend
    upstream: "Upstream | None"
    """Who answers the agent's model calls; `None` when it makes none."""
    token: str
    """Opens the gateway for this run's sandbox."""
    trajectory_id: str
    folder: Path
    claim: Claim
    redactor: Redactor
    emit: Emitter
