"""Runner: a run while it happens: its record is open, and its first and last events are written."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from runbook_runner import __version__
from runbook_runner.agents.base import Agent
from runbook_runner.core import ids
from runbook_runner.core.disk.private import FILE
from runbook_runner.core.errors import RecordingError, RunbookError
from runbook_runner.core.events import (
    DOUBT,
    Event,
    Log,
    PhaseFinished,
    PhaseStarted,
    RunFinished,
    RunStarted,
    Status,
)
from runbook_runner.core.files import is_folder, write_atomically
from runbook_runner.core.redaction import Redactor
from runbook_runner.core.spec import RunSpec
from runbook_runner.core.text import encodable
from runbook_runner.runner.cancellation import Cancellation
from runbook_runner.runner.environment.backends import longest_end
from runbook_runner.runner.outcome import Outcome
from runbook_runner.runner.recovery.claims import Claim, Entry
from runbook_runner.runner.recovery.seal import Seal
from runbook_runner.runner.request.prepared_run import PreparedRun
from runbook_runner.runner.tally import Tally
from runbook_runner.trajectory.folders import EVENTS_FILE, MISSION_FILE, SPEC_FILE, TRAJECTORIES, create_folder
from runbook_runner.trajectory.index.own_runs import Note, add_note, place_of
from runbook_runner.trajectory.recorder import Reader, Recorder
from runbook_runner.trajectory.sandbox_log import SandboxLog
from runbook_runner.trajectory.store import write_fold


class Emitter:
    """Appends events for one run, with the phases timed."""

    def __init__(self, recorder: Recorder):
        self._recorder = recorder

    def __call__(self, event: Event) -> None:
        self._recorder.append(event)

    def is_log_in_place(self) -> bool:
        """Whether the events are in the log of the trajectory folder, and not in a file that was removed from it."""
        return self._recorder.is_in_place()

    def warn(self, message: str) -> None:
        self(Log(level="warning", message=message))

    def doubt(self, message: str) -> None:
        """A warning that belongs to the results: the summary and `--json` repeat it."""
        self(Log(level="warning", message=message, source=DOUBT))

    @contextmanager
    def phase(self, name: str) -> Iterator["Phase"]:
        began, phase = time.monotonic(), Phase()
        self(PhaseStarted(phase=name))
        yield phase
        self(PhaseFinished(phase=name, seconds=round(time.monotonic() - began, 3), ok=phase.ok))


@dataclass
class Phase:
    ok: bool = True
    """As `PhaseFinished` has it."""


@dataclass(frozen=True)
class Run:
    prepared: PreparedRun
    agent: Agent
    """As it is in the sandbox."""
    trajectory_id: str
    folder: Path
    """The trajectory folder."""
    token: str
    """Opens the gateway for this run's sandbox."""
    claim: Claim
    redactor: Redactor
    emit: Emitter
    tally: Tally
    cancellation: Cancellation
    started: float
    """Monotonic time."""

    @property
    def spec(self) -> RunSpec:
        return self.prepared.spec


@contextmanager
def recorded(prepared: PreparedRun, readers: Sequence[Reader], cancellation: Cancellation) -> Iterator[Run]:
    """A new trajectory folder, claimed and open in this block, with its spec and its first event. Raises
    RecordingError."""
    spec, home = prepared.spec, prepared.settings.home
    token = ids.new_run_token()
    redactor = prepared.redactor({"RUN_TOKEN": token})
    is_first = not is_folder(home / TRAJECTORIES)
    trajectory_id, folder = create_folder(home, spec.collection, spec.task)
    backend = prepared.backend
    entry = Entry.of_record(
        folder,
        backend.name,
        engine=backend.engine_url,
        until=longest_end(spec),
        kept=prepared.options.keep,
        seal=Seal.of(prepared.secrets.values, _environment_files(prepared)),
    )
    with ExitStack() as stack:
        claim = stack.enter_context(Claim(prepared.settings.data, trajectory_id, entry))
        tally = Tally()
        recorder = Recorder(folder, redactor, (SandboxLog(folder), tally, *readers))
        stack.callback(recorder.close)
        emit = Emitter(recorder)
        run = Run(
            prepared,
            prepared.agent,
            trajectory_id,
            folder,
            token,
            claim,
            redactor,
            emit,
            tally,
            cancellation,
            time.monotonic(),
        )
        _write_request(run)
        if is_first:
            emit(Log(message=encodable(f"Runs are kept in {home / TRAJECTORIES}.")))
        yield run
        if recorder.broken_reader:
            raise recorder.broken_reader


def _environment_files(prepared: PreparedRun) -> Iterator[Path]:
    if prepared.options.env_file:
        yield prepared.options.env_file
    if prepared.secrets.beside:
        yield prepared.secrets.beside


def finish(run: Run, status: Status, error: RunbookError | None) -> Outcome:
    """The last event, and the fold of all of them. Raises RecordingError."""
    if error:
        error.redact(run.redactor.clean)
    seconds = round(time.monotonic() - run.started, 3)
    message, code = (error.message, error.code) if error else (None, None)
    run.emit(RunFinished(status=status, error=message, error_code=code, seconds=seconds))
    _require_own_log(run)
    return Outcome(
        write_fold(run.folder, run.prepared.settings.data),
        run.folder,
        error,
        run.spec.criteria,
        run.tally.evaluated,
        tuple(run.tally.checks),
        clean=run.redactor.clean,
    )


def _require_own_log(run: Run) -> None:
    """Raises RecordingError when another program has put a log in the place of this run's."""
    if run.emit.is_log_in_place():
        return
    settings = run.prepared.settings
    try:
        add_note(settings.home, settings.data, Note(place_of(run.folder), run.folder.lstat().st_ino, "gone"))
    except OSError as error:
        raise RecordingError.of(error, run.folder) from error
    raise RecordingError(
        "Another program replaced the log of this run, or removed it, while the run went on.",
        where=str(run.folder / EVENTS_FILE),
        hint="Did `git pull` bring runs that others have made? What is in the folder now says nothing of this run.",
    )


def _described(spec: RunSpec, redactor: Redactor) -> Any:
    """A number or a word of a format, such as a limit, stays where a secret has the same value: else nobody could read
    the spec of a run that died."""
    whole: Any = spec.model_dump(mode="json")
    cleaned: Any = redactor.json(whole, strong=True)
    try:
        RunSpec.model_validate_json(json.dumps(cleaned))
    except ValidationError as error:
        for problem in error.errors():
            *above, last = problem["loc"]
            with suppress(LookupError, TypeError):  # below a key that is itself cleaned
                held, meant = (reduce(getitem, above, body) for body in (cleaned, whole))
                if isinstance(meant[last], (int, float)) or problem["type"] == "literal_error":
                    held[last] = meant[last]
    return cleaned


def _write_request(run: Run) -> None:
    spec = run.spec
    described = _described(spec, run.redactor)
    text = json.dumps(described, indent=1) + "\n"
    digest, asked = hashlib.sha256(text.encode()).hexdigest(), run.prepared.settings
    try:
        note = Note(place_of(run.folder), run.folder.lstat().st_ino, "run", digest)
        add_note(asked.home, asked.data, note)
        write_atomically(run.folder / SPEC_FILE, text, mode=FILE)
        write_atomically(run.folder / MISSION_FILE, run.redactor.clean(spec.told), mode=FILE)
    except OSError as error:
        raise RecordingError(f"The run can't be recorded: {error.strerror}.", where=str(run.folder)) from error
    run.emit(
        RunStarted(
            trajectory_id=run.trajectory_id,
            collection=spec.collection,
            task=spec.task,
            author=run.prepared.options.author,
            spec_digest=spec.digest(),
            init_params=_init_params(spec),
            step_config=_step_config(spec),
            labels=spec.labels,
            engine=f"runbook-runner/{__version__}",
            replay=run.prepared.replay.described() if run.prepared.replay else None,
            attempt=run.prepared.attempt,
            rerun_of=run.prepared.rerun_of,
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
        "instruction": spec.told,
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
