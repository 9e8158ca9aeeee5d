"""Runner, recovery: cleans up after runs whose process died: collects what is left, folds their log, removes the
rest."""

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from runbook_runner.agents.registry import find_agent
from runbook_runner.core.clock import seconds_between
from runbook_runner.core.errors import NotReadyError, RecordingError, RunbookError
from runbook_runner.core.events import Log, Recorded, RunFinished
from runbook_runner.core.spec import RunSpec
from runbook_runner.runner.environment.backends import ChosenBackend
from runbook_runner.runner.recovery import claims
from runbook_runner.runner.recovery.leftovers import Engines, Leftovers, find_leftovers
from runbook_runner.runner.request import secrets
from runbook_runner.runner.request.variables import UserVariables, user_variables
from runbook_runner.runner.results.collect import collect
from runbook_runner.sandbox.backends import BACKENDS
from runbook_runner.sandbox.base import Sandbox
from runbook_runner.sandbox.temp_folders import own_folders, remove_folder
from runbook_runner.trajectory.recorder import EVENTS_FILE, Recorder
from runbook_runner.trajectory.store import SPEC_FILE, read_events, repair, write_fold

INTERRUPTED = "interrupted"
Known = tuple[Mapping[str, str], Mapping[str, str]]
"""Name → value: the user's variables, and the secrets of the run."""


class ResultsHeldError(NotReadyError):
    """The results of a dead run wait until the secrets are given that must be removed from them."""

    code = "results_held"


def sweep(data: Path, chosen: ChosenBackend, check: Callable[[], None]) -> None:
    """Recovers dead runs before a run starts. What can't be removed is a warning and keeps no run from starting. check:
    is called before each of them, and may raise. Raises SandboxError when an engine fails."""
    for run in recover_dead(data, _engines_for(data, chosen), patient=True, check=check):
        if run.problem:
            sys.stderr.write(f"warning: not all of run {run.run_id} could be removed: {run.problem}\n")


def recover_dead(
    data: Path,
    engines: Engines,
    *,
    look_only: bool = False,
    kept_too: bool = False,
    patient: bool = False,
    variables: UserVariables | None = None,
    discard: bool = False,
    check: Callable[[], None] = lambda: None,
) -> tuple[Leftovers, ...]:
    """Recovers every dead run that `find_leftovers` finds, and returns their leftovers. data: the user's data folder.
    Never touches a run whose process lives. A sandbox that is to be kept stays, unless kept_too, and is not returned.
    look_only: recovers nothing. A run whose container is at another engine waits for that engine, which may still have
    its results; patient: also while the engine does not answer. A run with secrets waits until variables, its own
    environment files or the environment have the same ones, so that they are removed from its results; discard: it is
    removed without results. Raises SandboxError when an engine fails."""
    variables = variables or user_variables()
    recovered = []
    for run in find_leftovers(data, engines):
        check()
        stays = run.may_be_kept(engines) and not kept_too
        missing = _missing_engine(run, engines, patient=patient)
        if stays and not run.claimed:
            continue
        try:
            with claims.if_dead(run.claim, look_only=look_only or missing is not None, keep=stays) as dead:
                if dead and missing:
                    run.problem = missing
                elif dead and not look_only:
                    _recover(run, engines, variables, stays=stays, discard=discard)
        except RunbookError as error:
            run.problem = error
        if dead and (run.claimed or run.containers or run.folders):
            recovered.append(replace(run, containers=[], folders=[]) if stays else run)
    return tuple(recovered)


def _missing_engine(run: Leftovers, engines: Engines, *, patient: bool) -> NotReadyError | None:
    if run.backend is None or not run.backend.has_engine:
        return None
    opened = engines.get(run.backend.name)
    if opened is None or opened.engine is None:
        hint = "`runbook clean` removes the run without its results."
        return NotReadyError("Its Docker engine does not answer.", hint=hint) if patient else None
    if not run.is_elsewhere(opened.engine.url):
        return None
    ends = datetime.fromtimestamp(run.entry.until).strftime("%H:%M")
    hint = f"`DOCKER_HOST={run.entry.engine} runbook clean` collects its results; after {ends} its container is gone."
    return NotReadyError(f"Its container is at another Docker engine, {run.entry.engine}.", hint=hint)


def _engines_for(data: Path, chosen: ChosenBackend) -> Engines:
    """The engines to sweep with: the chosen backend's, and those that dead runs used, if they answer."""
    engines = {chosen.name: chosen.opened} if chosen.backend.has_engine else {}
    used = {claim.entry.backend for claim in claims.claimed(data) if claim.entry}
    for backend in BACKENDS.values():
        if backend.has_engine and backend.name in used and backend.name not in engines:
            with suppress(NotReadyError):
                engines[backend.name] = backend.open(None)
    return engines


def _recover(run: Leftovers, engines: Engines, variables: UserVariables, *, stays: bool, discard: bool) -> None:
    sandboxes = run.sandboxes(engines)
    seal = run.entry.seal if sandboxes and run.claimed else None
    values = seal.open(variables) if seal and not discard else {}
    held = None if values is not None else _held(run, sandboxes[0])
    try:
        if record := run.entry.record():
            leftover = None if held or discard else next(iter(sandboxes), None)
            _close_record(run, record, leftover, (variables.all(), values or {}), held)
        if held:
            claims.hold_results(run.claim)
            raise held
    except (RecordingError, ResultsHeldError):
        stays = True  # a later start may have room to write to, or the secrets
        raise
    finally:
        for sandbox in () if stays else sandboxes:
            sandbox.stop()
        for folder in own_folders(run.claim.work):
            if not stays or folder != run.claim.work:
                remove_folder(folder)


def _held(run: Leftovers, sandbox: Sandbox) -> ResultsHeldError:
    names = ", ".join(run.entry.seal.names if run.entry.seal else ())
    ends = ""
    if run.backend and run.backend.has_engine:
        ends = f" At {datetime.fromtimestamp(run.entry.until).strftime('%H:%M')} its container ends, and they are gone."
    return ResultsHeldError(
        f"The results of run {run.run_id} are held back in its {sandbox.backend} sandbox: "
        f"the secrets that must be removed from them are not here as the run had them: {names}.{ends}",
        hint="Set them and type `runbook clean`, or `runbook clean --env-file FILE`; "
        "`runbook clean --discard` removes such results unseen.",
    )


def _close_record(
    run: Leftovers, folder: Path, leftover: Sandbox | None, known: Known, held: ResultsHeldError | None
) -> None:
    """Appends what can still be known to a log that just stops, and folds it. Raises RecordingError."""
    try:
        repair(folder)
        events = list(read_events(folder)) if (folder / EVENTS_FILE).exists() else []
        if events and (not isinstance(events[-1].event, RunFinished) or (run.entry.held and leftover)):
            _finish(run, folder, events, leftover, known, held)
        if events:
            write_fold(folder)
    except RecordingError:
        raise
    except (OSError, RunbookError, ValueError) as error:
        # One broken folder must not keep every later run from starting; its log stays as it is.
        sys.stderr.write(f"warning: {folder} could not be recovered: {error}\n")


def _finish(
    run: Leftovers,
    folder: Path,
    events: list[Recorded],
    leftover: Sandbox | None,
    known: Known,
    held: ResultsHeldError | None,
) -> None:
    spec = RunSpec.model_validate_json((folder / SPEC_FILE).read_bytes())
    redactor = secrets.redactor_for(spec, *known)
    recorder = Recorder(folder, redactor, first_seq=events[-1].seq + 1)
    try:
        if not run.entry.held:
            recorder.append(Log(level="error", message="The process that ran this run ended unexpectedly."))
        if held:
            recorder.append(Log(level="warning", message=" ".join(str(held).split())))
        if leftover:
            _collect(folder, spec, leftover, recorder, run.claim.work)
        seconds = max(0.0, seconds_between(events[0].ts, events[-1].ts))  # clocks are set back
        recorder.append(RunFinished(status="failed", error=INTERRUPTED, error_code=INTERRUPTED, seconds=seconds))
    finally:
        recorder.close()


def _collect(folder: Path, spec: RunSpec, leftover: Sandbox, recorder: Recorder, work: Path) -> None:
    try:
        collect(
            leftover,
            spec,
            find_agent(spec.agent, spec.near),
            trajectory_id=folder.name,
            folder=folder,
            work=work,
            redactor=recorder.redactor,
            emit=recorder.append,
        )
    except RecordingError:
        raise
    except RunbookError as error:
        recorder.append(Log(level="error", message=f"Not everything could be collected: {error.message}"))
