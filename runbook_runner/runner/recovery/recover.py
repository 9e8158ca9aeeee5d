"""Runner, recovery: cleans up after runs whose process died: collects what is left, folds their log, removes the
rest."""

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from runbook_runner.agents.base import Agent
from runbook_runner.agents.registry import find_agent
from runbook_runner.core.clock import seconds_between
from runbook_runner.core.errors import InputError, NotReadyError, RecordingError, RunbookError
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
from runbook_runner.trajectory.folders import EVENTS_FILE, SPEC_FILE
from runbook_runner.trajectory.index.own_runs import staying_own
from runbook_runner.trajectory.recorder import Recorder
from runbook_runner.trajectory.store import read_events, repair, write_fold

INTERRUPTED = "interrupted"
Known = tuple[Mapping[str, str], Mapping[str, str]]
"""Name → value: the user's variables, and the secrets of the run."""


class ResultsHeldError(NotReadyError):
    """The results of a dead run wait in its sandbox: for the secrets that must be removed from them, or because they
    could not be collected."""

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
    only: str | None = None,
) -> tuple[Leftovers, ...]:
    """Recovers every dead run that `find_leftovers` finds, and returns their leftovers. data: the user's data folder.
    only: none but the run of this claim.
    Never touches a run whose process lives. A sandbox that is to be kept stays, unless kept_too, and is not returned.
    look_only: recovers nothing. A run whose container is at another engine waits for that engine, which may still have
    its results; patient: also while the engine does not answer. A run with secrets waits until variables, its own
    environment files or the environment have the same ones, so that they are removed from its results; discard: it is
    removed without results. Raises SandboxError when an engine fails."""
    variables = variables or user_variables()
    recovered = []
    for run in find_leftovers(data, engines):
        if only not in (None, run.claim.name):
            continue
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
    """The sandbox of a run that has not come to its end is removed only when its results are at home, or nobody wants
    them. Raises RunbookError when they are not: the claim stays, and a later start tries again."""
    sandboxes = run.sandboxes(engines)
    leftover = next(iter(sandboxes), None) if run.claimed and not discard else None
    try:
        _bring_home(run, leftover, variables)
    except (RecordingError, ResultsHeldError):  # a later start may have room to write to, or the secrets
        stays = True
        raise
    except (OSError, RunbookError, ValueError) as error:
        if leftover:
            stays = True
            raise _uncollected(run, leftover, error) from error
        # One broken folder must not keep every later run from starting; its log stays as it is.
        sys.stderr.write(f"warning: {run.entry.folder} could not be recovered: {error}\n")
    finally:
        for sandbox in () if stays else reversed(sandboxes):  # Podman removes last what others look into
            sandbox.stop()
        for folder in own_folders(run.claim.work):
            if not stays or folder != run.claim.work:
                remove_folder(folder)


def _bring_home(run: Leftovers, leftover: Sandbox | None, variables: UserVariables) -> None:
    """Collects what is in the leftover and closes the record. Raises OSError, RunbookError, ValueError."""
    if run.entry.collected:
        leftover = None
    folder = run.entry.record()
    if folder is None:
        if leftover and not run.entry.is_removed():
            raise InputError("its record is not in its place any more.", where=run.entry.folder)
        return
    seal = run.entry.seal if leftover else None
    values = seal.open(variables) if seal else {}
    held = _held(run, leftover) if leftover and values is None else None
    if leftover:
        claims.hold_results(run.claim)
    with staying_own(folder):
        problem = _close_record(run, folder, None if held else leftover, (variables.all(), values or {}), held)
    if problem:
        raise problem


def _uncollected(run: Leftovers, sandbox: Sandbox, error: Exception) -> ResultsHeldError:
    said = error.message if isinstance(error, RunbookError) else str(error)
    where = error.where if isinstance(error, RunbookError) else None
    return ResultsHeldError(
        f"The results of run {run.run_id} are still in its {sandbox.backend} sandbox: {said}",
        where=where,
        hint="`runbook clean` tries again once that is mended; `runbook clean --discard` removes them unseen.",
    )


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
    run: Leftovers, folder: Path, leftover: Sandbox | None, known: Known, problem: RunbookError | None
) -> RunbookError | None:
    """Appends what can still be known to a log that just stops, and folds it. problem: why nothing can be collected.
    Returns why not all was. Raises OSError, RunbookError, ValueError."""
    repair(folder)
    events = _first_and_last(folder) if (folder / EVENTS_FILE).exists() else []
    is_closed = bool(events) and isinstance(events[-1].event, RunFinished)
    if (leftover and (run.entry.held or not is_closed)) or (events and not is_closed):
        problem = _finish(run, folder, events, leftover, known, problem, is_closed=is_closed)
    if leftover or events:
        _fold(folder)
    return problem


def _first_and_last(folder: Path) -> list[Recorded]:
    """A log may have a million events."""
    ends: list[Recorded] = []
    for recorded in read_events(folder):
        ends[1:] = [recorded]
    return ends


def _fold(folder: Path) -> None:
    try:
        write_fold(folder)
    except RecordingError:
        raise
    except (OSError, RunbookError, ValueError) as error:
        sys.stderr.write(f"warning: {folder} has no trajectory.json: {error}\n")


def _finish(
    run: Leftovers,
    folder: Path,
    events: list[Recorded],
    leftover: Sandbox | None,
    known: Known,
    problem: RunbookError | None,
    *,
    is_closed: bool,
) -> RunbookError | None:
    """Returns why not all was collected."""
    spec = _spec(folder / SPEC_FILE)
    redactor = secrets.redactor_for(spec, *known)
    recorder = Recorder(folder, redactor, first_seq=events[-1].seq + 1 if events else 1)
    try:
        if not is_closed:
            recorder.append(Log(level="error", message="The process that ran this run ended unexpectedly."))
        if leftover:
            problem = _collect(run, folder, spec, leftover, recorder)
        if problem and not is_closed:
            recorder.append(Log(level="warning", message=" ".join(str(problem).split())))
        if not (problem and is_closed):
            recorder.append(
                RunFinished(status="failed", error=INTERRUPTED, error_code=INTERRUPTED, seconds=_lasted(events))
            )
    finally:
        recorder.close()
    return problem


def _spec(file: Path) -> RunSpec:
    """Raises InputError, OSError."""
    try:
        return RunSpec.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise InputError("the file is damaged.", where=str(file)) from error


def _lasted(events: list[Recorded]) -> float:
    return max(0.0, seconds_between(events[0].ts, events[-1].ts)) if events else 0.0  # clocks are set back


def _collect(
    run: Leftovers, folder: Path, spec: RunSpec, leftover: Sandbox, recorder: Recorder
) -> ResultsHeldError | None:
    """Returns why not all of it was collected. Raises RecordingError."""
    try:
        collect(
            leftover,
            spec,
            _agent(spec, recorder),
            trajectory_id=folder.name,
            folder=folder,
            work=run.claim.work,
            redactor=recorder.redactor,
            emit=recorder.append,
            before=run.entry.before,
        )
    except RecordingError:
        raise
    except RunbookError as error:
        return _uncollected(run, leftover, error)
    return None


def _agent(spec: RunSpec, recorder: Recorder) -> Agent | None:
    """The results need none; only the agent's session files do."""
    try:
        return find_agent(spec.agent, spec.near)
    except RunbookError as error:
        recorder.append(Log(level="warning", message=f"The agent's session files were not collected: {error.message}"))
        return None
