"""Runner: cleans up after runs whose process died: brings home what is left, folds their log, removes the rest."""

import sys
from contextlib import suppress
from pathlib import Path

from runbook_runner.agents import find_agent
from runbook_runner.clock import seconds_between
from runbook_runner.errors import NotReadyError, RunbookError
from runbook_runner.events import Log, Recorded, RunFinished
from runbook_runner.runner import claims, credentials
from runbook_runner.runner.backends import Backend, DockerBackend
from runbook_runner.runner.collect import collect
from runbook_runner.sandbox import Sandbox
from runbook_runner.spec import RunSpec
from runbook_runner.trajectory.recorder import Recorder, repair
from runbook_runner.trajectory.store import SPEC_FILE, read_events, write_fold

INTERRUPTED = "interrupted"


def sweep(home: Path, backend: Backend) -> None:
    """Recovers every dead run of this home; with an engine at hand also the containers of dead owners of any home of
    this host. Never touches a run whose owner lives. Raises SandboxError when something can't be removed."""
    for entry, _ in claims.dead_entries(home):
        _recover(Path(entry.folder), _leftover(entry, backend))
        _remove_folders(entry.temp, entry.trajectory_id)
    if isinstance(backend, DockerBackend):
        _sweep_containers(backend)


def _leftover(entry: claims.Entry, backend: Backend) -> Sandbox | None:
    """What a dead run left running or lying about; `None` when there is nothing, or no engine to ask."""
    if entry.backend == "host":
        from runbook_runner.sandbox.host import find_leftover

        return find_leftover(Path(entry.temp), entry.trajectory_id)
    if entry.backend == "bubblewrap":
        from runbook_runner.sandbox import bubblewrap

        return bubblewrap.find_leftover(Path(entry.temp), entry.trajectory_id)
    from runbook_runner.sandbox.docker import attach, list_owned
    from runbook_runner.sandbox.engine import connect

    with suppress(NotReadyError):
        engine = backend.engine if isinstance(backend, DockerBackend) else connect()
        for container in list_owned(engine, claims.this_host()):
            if container.labels.get(claims.LABEL_RUN) == entry.trajectory_id:
                return attach(engine, container.container_id)
    return None


def _sweep_containers(backend: DockerBackend) -> None:
    from runbook_runner.sandbox.docker import attach, list_owned

    for container in list_owned(backend.engine, claims.this_host()):
        labels = container.labels
        if labels.get(claims.LABEL_KEEP):
            continue
        with claims.if_dead(Path(labels.get(claims.LABEL_LOCK, ""))) as dead:
            if dead:
                leftover = attach(backend.engine, container.container_id)
                _recover(Path(labels.get(claims.LABEL_FOLDER, "")), leftover)
                _remove_folders(labels.get(claims.LABEL_TEMP), labels[claims.LABEL_RUN])


def _remove_folders(temp: str | None, trajectory_id: str) -> None:
    """What a dead run had beside its sandbox, such as the sockets of its container."""
    if temp:
        from runbook_runner.sandbox.folder import remove_leftovers

        remove_leftovers(Path(temp), trajectory_id)


def _recover(folder: Path, leftover: Sandbox | None) -> None:
    try:
        if (folder / SPEC_FILE).is_file():
            _close_record(folder, leftover)
    finally:
        if leftover:
            leftover.stop()


def _close_record(folder: Path, leftover: Sandbox | None) -> None:
    """Appends what can still be known to a log that just stops, and folds it."""
    try:
        repair(folder)
        events = list(read_events(folder))
        if events and not isinstance(events[-1].event, RunFinished):
            _finish(folder, events, leftover)
        if events:
            write_fold(folder)
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
        seconds = seconds_between(events[0].ts, events[-1].ts)
        recorder.append(RunFinished(status="failed", error=INTERRUPTED, error_code=INTERRUPTED, seconds=seconds))
    finally:
        recorder.close()


def _collect(folder: Path, spec: RunSpec, leftover: Sandbox, recorder: Recorder) -> None:
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
    except RunbookError as error:
        recorder.append(Log(level="error", message=f"Not everything could be collected: {error.message}"))
