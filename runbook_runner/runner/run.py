"""Runner: a run that is under way: what each of its phases needs, and how it says what happens."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_runner import __version__
from runbook_runner.agents.base import Agent
from runbook_runner.core.errors import RecordingError, RunbookError
from runbook_runner.core.events import Event, Log, PhaseFinished, PhaseStarted, RunStarted
from runbook_runner.core.files import write_atomically
from runbook_runner.core.redaction import Redactor
from runbook_runner.core.settings import RecordMode, Settings
from runbook_runner.core.spec import RunSpec
from runbook_runner.runner.cancellation import Cancellation
from runbook_runner.runner.environment.backends import Backend
from runbook_runner.runner.recovery.claims import Claim
from runbook_runner.trajectory.recorder import Reader, Recorder
from runbook_runner.trajectory.store import MISSION_FILE, SPEC_FILE

if TYPE_CHECKING:
    from runbook_runner.gateway import Upstream
    from runbook_runner.runner.replay import Replaying
    from runbook_runner.trajectory.models import Trajectory


@dataclass(frozen=True)
class RunOptions:
    """How to run, as opposed to what: none of it changes the spec or its digest."""

    settings: Settings
    environ: Mapping[str, str]
    """Host variables that secrets and provider keys come from."""
    backend: str = "auto"
    """One of `backends.BACKENDS`."""
    strict_snapshot: bool = False
    """An unknown snapshot is an error, not a warning."""
    model_script: Path | None = None
    """Answers the agent's model calls instead of a provider."""
    replay: "Replaying | None" = None
    """Answers them from a recording; the script comes after it then."""
    record_mode: RecordMode = "full"
    """How much of the model calls is kept."""
    out: Path | None = None
    """Where to put a copy of the results."""
    keep: bool = False
    """Leave the sandbox there after the run."""
    warnings: tuple[str, ...] = ()
    """What the document gave cause to say; the run's first words."""
    author: str = "local"
    readers: Sequence[Reader] = ()
    cancellation: Cancellation = field(default_factory=Cancellation)


@dataclass(frozen=True)
class Outcome:
    trajectory: "Trajectory"
    folder: Path
    error: RunbookError | None
    """What ended the run early; `None` when it went through, whatever its verdict."""


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


def write_down(run: Run) -> None:
    """Raises RecordingError."""
    spec, clean = run.spec, run.redactor
    try:
        write_atomically(run.folder / SPEC_FILE, clean.clean(spec.model_dump_json(indent=1)) + "\n")
        write_atomically(run.folder / MISSION_FILE, clean.clean(spec.mission))
    except OSError as error:
        raise RecordingError(f"The run can't be recorded: {error.strerror}.", where=str(run.folder)) from error
    run.emit(
        RunStarted(
            trajectory_id=run.trajectory_id,
            collection=spec.collection,
            task=spec.task,
            author=run.options.author,
            spec_digest=spec.digest(),
            init_params=_init_params(spec),
            step_config=_step_config(spec),
            labels=spec.labels,
            engine=f"runbook-runner/{__version__}",
            replay=run.options.replay.described() if run.options.replay else None,
        )
    )


def _init_params(spec: RunSpec) -> dict[str, Any]:
    """As the platform records a runbook run (contract §6.8)."""
    return {
        "agent": spec.agent,
        "model": spec.model,
        "model_provider": spec.provider,
        "snapshot": spec.snapshot,
        "image": spec.image,
        "instruction": spec.mission,
        "vars": spec.parameters,
        "file_paths": [item.name for item in spec.inputs],
    }


def _step_config(spec: RunSpec) -> dict[str, Any]:
    return {
        "activity": "runbook",
        "agent_path": "init_params.agent",
        "model_path": "init_params.model",
        "model_provider_path": "init_params.model_provider",
        "snapshot_path": "init_params.snapshot",
        "instruction_path": "init_params.instruction",
        "template_variables_path": "init_params.vars",
        "files_path": "init_params.file_paths",
        "cpus": spec.limits.cpus,
        "memory": f"{spec.limits.memory_bytes >> 20}M",
        "timeout_sec": spec.limits.timeout_s,
        "network_enabled": spec.network.policy != "none",
    }
