"""Runner: cleans up after runs whose process died: brings home what is left, folds their log, removes the rest."""

import sys
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_runner.agents.registry import find_agent
from runbook_runner.core.clock import seconds_between
from runbook_runner.core.errors import NotReadyError, RecordingError, RunbookError
from runbook_runner.core.events import Log, Recorded, RunFinished
from runbook_runner.core.spec import RunSpec
from runbook_runner.runner.environment.backends import Backend, DockerBackend
from runbook_runner.runner.recovery import claims
from runbook_runner.runner.recovery.leftovers import Remains, find_remains
from runbook_runner.runner.request import secrets as credentials
from runbook_runner.sandbox.base import Sandbox
from runbook_runner.sandbox.temp_folders import MEMORY, find_folders, remove_folder
from runbook_runner.trajectory.recorder import EVENTS_FILE, Recorder
from runbook_runner.trajectory.store import SPEC_FILE, read_events, repair

if TYPE_CHECKING:
    from runbook_runner.sandbox.docker.engine import Engine

INTERRUPTED = "interrupted"


def sweep(home: Path, backend: Backend) -> None:
    """What every run does before it starts. What can't be removed is told and in nobody's way. Raises SandboxError when
    the engine fails."""
    for run in recover_dead(home, _engine_for(home, backend), patient=True):
        if run.problem:
            sys.stderr.write(f"warning: not all of run {run.run_id} could be removed: {run.problem}\n")


def recover_dead(
    home: Path, engine: "Engine | None", *, look_only: bool = False, kept_too: bool = False, patient: bool = False
) -> tuple[Remains, ...]:
    """Recovers every dead run that `find_remains` finds, and tells which. Never touches a run whose owner lives. The
    sandbox of one that was to be kept stays, unless kept_too, and is not told. look_only: only tells. A run whose
    container is at another engine waits for that one, which may still have its results; patient: without any engine,
    too. Raises SandboxError when the engine fails."""
    recovered = []
    for run in find_remains(home, engine):
        stays = run.kept and not kept_too
        missing = _missing_engine(run, engine, patient=patient)
        if stays and not run.claimed:
            continue
        try:
            with claims.if_dead(run.lock, look_only=look_only or missing is not None) as dead:
                if dead and missing:
                    run.problem = missing
                elif dead and not look_only:
                    _recover(run, engine, stays=stays)
        except RunbookError as problem:
            run.problem = problem
        if dead:
            recovered.append(replace(run, containers=[], folders=[]) if stays else run)
    return tuple(recovered)


def _missing_engine(run: Remains, engine: "Engine | None", *, patient: bool) -> NotReadyError | None:
    if engine is None:
        if not patient or run.backend != "docker":
            return None
        return NotReadyError("Its Docker engine does not answer.", hint="`runbook clean` gives it up.")
    if not run.is_elsewhere(engine):
        return None
    ends = datetime.fromtimestamp(run.until).strftime("%H:%M")
    hint = f"`DOCKER_HOST={run.engine} runbook clean` brings its results home; after {ends} its container is gone."
    return NotReadyError(f"Its container is at another Docker engine, {run.engine}.", hint=hint)


def _engine_for(home: Path, backend: Backend) -> "Engine | None":
    """The engine to sweep with: the backend's, or one that a dead run of this home used, if it answers."""
    if isinstance(backend, DockerBackend):
        return backend.engine
    if any(entry and entry.backend == "docker" for _, entry in claims.claimed(home)):
        from runbook_runner.sandbox.docker.engine import connect

        with suppress(NotReadyError):
            return connect()
    return None


def _recover(run: Remains, engine: "Engine | None", *, stays: bool) -> None:
    leftover = run.sandbox(engine)
    try:
        if run.record and run.record.name == run.run_id and run.record.is_dir():
            _close_record(run.record, leftover)
    except RecordingError:
        stays = True  # a later start may have room to write to
        raise
    finally:
        if leftover and not stays:
            leftover.stop()
        for container in () if stays else run.containers[1:]:
            from runbook_runner.sandbox.docker.sandbox import attach

            assert engine
            attach(engine, container).stop()
        for folder in (*(() if stays else run.folders), *find_folders(MEMORY, run.run_id)):
            remove_folder(folder)


def _close_record(folder: Path, leftover: Sandbox | None) -> None:
    """Appends what can still be known to a log that just stops, and folds it. Raises RecordingError."""
    from runbook_runner.trajectory.store import write_fold  # every run sweeps, hardly any finds something

    try:
        repair(folder)
        events = list(read_events(folder)) if (folder / EVENTS_FILE).exists() else []
        if events and not isinstance(events[-1].event, RunFinished):
            _finish(folder, events, leftover)
        if events:
            write_fold(folder)
    except RecordingError:
        raise
    except (OSError, RunbookError, ValueError) as problem:
        # One broken folder must not keep every later run from starting; its log stays as it is.
        sys.stderr.write(f"warning: {folder} could not be recovered: {problem}\n")


def _finish(folder: Path, events: list[Recorded], leftover: Sandbox | None) -> None:
    spec = RunSpec.model_validate_json((folder / SPEC_FILE).read_bytes())
    redactor = credentials.redactor_for(spec, credentials.load_environment(None, None))
    recorder = Recorder(folder, redactor, first_seq=events[-1].seq + 1)
    try:
        recorder.append(Log(level="error", message="The process that ran this ended without a word."))
        if leftover:
            _collect(folder, spec, leftover, recorder)
        seconds = max(0.0, seconds_between(events[0].ts, events[-1].ts))  # clocks are set back
        recorder.append(RunFinished(status="failed", error=INTERRUPTED, error_code=INTERRUPTED, seconds=seconds))
    finally:
        recorder.close()


def _collect(folder: Path, spec: RunSpec, leftover: Sandbox, recorder: Recorder) -> None:
    from runbook_runner.runner.results.collect import collect

    try:
        collect(
            leftover,
            spec,
            find_agent(spec.agent, spec.near),
            trajectory_id=folder.name,
            folder=folder,
            redactor=recorder.redactor,
            emit=recorder.append,
        )
    except RecordingError:
        raise
    except RunbookError as error:
        recorder.append(Log(level="error", message=f"Not everything could be collected: {error.message}"))
