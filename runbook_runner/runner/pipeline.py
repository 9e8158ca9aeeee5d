"""Runner: the pipeline. Read `_phases` top to bottom: each phase of a run is one call."""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runbook_runner.agents.base import Assignment
from runbook_runner.agents.failures import retry_delay
from runbook_runner.agents.registry import find_agent
from runbook_runner.core import ids, settings
from runbook_runner.core.errors import AgentError, CancelledError, InputError, RecordingError, RunbookError
from runbook_runner.core.events import (
    AgentFinished,
    AgentRetried,
    AgentStarted,
    Log,
    RunFinished,
    SandboxStarted,
    Status,
)
from runbook_runner.core.spec import RunSpec
from runbook_runner.evaluation import evaluate
from runbook_runner.runbook.parts.steps import step_blocks
from runbook_runner.runner.agent_process import Attempt, Work, attempt
from runbook_runner.runner.environment.backends import Prepared, Report, choose_backend, longest_end, shortcomings
from runbook_runner.runner.limits import with_limits
from runbook_runner.runner.model_access import ModelAccess, find_upstream, model_access
from runbook_runner.runner.recovery import recover as recovery
from runbook_runner.runner.recovery.claims import Claim, Entry
from runbook_runner.runner.request import secrets as credentials
from runbook_runner.runner.request.inputs import keep_inputs, shown_names, unpacked
from runbook_runner.runner.request.secrets import servers_with_secrets
from runbook_runner.runner.results.collect import collect
from runbook_runner.runner.run import Emitter, Outcome, Run, RunOptions, write_down
from runbook_runner.sandbox.base import PutFile, Sandbox
from runbook_runner.sandbox.temp_folders import temp_folder
from runbook_runner.trajectory.recorder import Recorder
from runbook_runner.trajectory.sandbox_log import SandboxLog
from runbook_runner.trajectory.store import RESULTS, create_folder

if TYPE_CHECKING:
    from runbook_runner.gateway import Cassette, Upstream
    from runbook_runner.trajectory.models import Trajectory


_LATER: Final = ("runbook_runner.trajectory.store",)
_LATER_WITH_MODEL: Final = ("runbook_runner.gateway.serve.app", "uvicorn")


def run(spec: RunSpec, options: RunOptions) -> Outcome:
    """Runs the spec and records it. Raises RunbookError for what is wrong before anything is recorded, and
    RecordingError at any time; everything else that goes wrong is in the outcome and in the trajectory."""
    agent = find_agent(spec.agent, spec.near)
    credentials.require_secrets(spec, options.environ)
    # A rehearsal: what the agent would refuse is refused before anything starts.
    blocks = step_blocks(spec.mission)
    agent.invoke(Assignment(spec.mission, settings.APP, blocks, spec.model, mcp_servers=spec.mcp_servers))
    upstream = find_upstream(agent, spec, options.model_script, options.environ, options.replay)
    backend = choose_backend(options.backend, spec, agent, options.settings, strict_snapshot=options.strict_snapshot)
    if options.out:
        _make_out(options.out)
    recovery.sweep(options.settings.home, backend)
    temp = temp_folder()
    trajectory_id, folder = create_folder(options.settings.home, spec.collection, spec.task)
    token = ids.new_run_token()
    provider = upstream.secret_values() if upstream else {}
    redactor = credentials.redactor_for(spec, options.environ, {**provider, "RUN_TOKEN": token})
    with ExitStack() as stack:
        entry = Entry(trajectory_id, str(folder), backend.name, str(temp), backend.engine_url, longest_end(spec))
        claim = stack.enter_context(Claim(options.settings.home, entry, keep=options.keep))
        recorder = Recorder(folder, redactor, (SandboxLog(folder), *options.readers))
        stack.callback(recorder.close)
        emit = Emitter(recorder)
        return _recorded(
            Run(spec, options, agent, backend, upstream, token, trajectory_id, folder, claim, redactor, emit)
        )


def _recorded(run: Run) -> Outcome:
    """However the run ends, its last event says so; only a record that can't be written any more has no end."""
    began = time.monotonic()
    write_down(run)
    status: Status
    error: RunbookError | None
    try:
        status, error = _status(_phases(run))
    except CancelledError as cancelled:
        status, error = "cancelled", cancelled
    except RecordingError:
        raise
    except RunbookError as broken:
        status, error = "failed", broken
    except Exception as bug:
        _finish(run, "failed", RunbookError(f"internal error: {type(bug).__name__}"), began)
        raise
    trajectory = _finish(run, status, error, began)
    if run.options.out:
        _copy_results(run.folder / RESULTS, run.options.out)
    return Outcome(trajectory, run.folder, error)


def _status(end: AgentFinished) -> tuple[Status, RunbookError | None]:
    if end.ended_by == "cancel":
        return "cancelled", CancelledError("The run was cancelled.")
    if end.error:
        return "failed", AgentError(end.error)
    return "completed", None


def _finish(run: Run, status: Status, error: RunbookError | None, began: float) -> "Trajectory":
    from runbook_runner.trajectory.store import write_fold

    seconds = round(time.monotonic() - began, 3)
    message, code = (error.message, error.code) if error else (None, None)
    run.emit(RunFinished(status=status, error=message, error_code=code, seconds=seconds))
    return write_fold(run.folder)


def _phases(run: Run) -> AgentFinished:
    """The run itself: image, sandbox, agent, collect, evaluate."""
    cancellation = run.options.cancellation
    _warn(run)
    keep_inputs(run.spec, run.folder, run.redactor, run.emit)
    with run.emit.phase("image"):
        prepared = run.backend.prepare(
            run.spec, run.agent, run.trajectory_id, run.claim.labels(), _reporter(run), run.emit
        )
    cancellation.check()
    run, sandbox = replace(run, agent=prepared.agent), prepared.sandbox
    with _alive(run, sandbox):
        with run.emit.phase("sandbox"):
            _load_ahead(run)
            _set_up(run, prepared)

        cancellation.check()
        with run.emit.phase("agent"):
            end = let_work(run, sandbox)
        # Whoever stops the run now still gets what the agent made.
        with run.emit.phase("collect"), cancellation.stops_with(lambda: None):
            end = bring_home(run, sandbox, end)
    with run.emit.phase("evaluate"):
        judge(run, end)
    cancellation.check()
    return end


def _warn(run: Run) -> None:
    for warning in run.options.warnings:
        run.emit.warn(warning)
    for secret in credentials.withheld(run.spec):
        run.emit.warn(credentials.explain_withheld(run.spec, secret))


def _reporter(run: Run) -> Report:
    def report(line: str) -> None:
        run.options.cancellation.check()
        run.emit(Log(message=line, source="image"))

    return report


@contextmanager
def _alive(run: Run, sandbox: Sandbox) -> Iterator[None]:
    """The sandbox exists in this block and nowhere after it, unless the user wants to keep it, or nothing can be
    recorded any more."""
    try:
        with run.options.cancellation.abandons_with(sandbox.stop):
            yield
    except RecordingError:
        raise  # the next start, with room to write to, brings home what is there
    except BaseException:
        sandbox.stop()
        raise
    if run.options.keep:
        run.emit(Log(message=f"Kept the sandbox {sandbox.sandbox_id}."))
    else:
        sandbox.stop()


def _load_ahead(run: Run) -> None:
    """Imports what the later phases need while the engine starts a container: both take a fifth of a second."""
    later = (*_LATER, *(_LATER_WITH_MODEL if run.upstream else ()))

    def load() -> None:
        with suppress(Exception):  # whoever needs it imports it again and says what is wrong
            for module in later:
                import_module(module)

    threading.Thread(target=load, name="load-ahead", daemon=True).start()


def _set_up(run: Run, prepared: Prepared) -> None:
    sandbox = prepared.sandbox
    sandbox.start()
    started = SandboxStarted(
        backend=sandbox.backend,
        sandbox_id=sandbox.sandbox_id,
        image=prepared.image,
        image_digest=prepared.image_digest,
        image_pinned=prepared.image_pinned,
        app=sandbox.app,
        limits=dict(sandbox.holds()),
    )
    run.emit(started)
    for change in run.options.replay.changes(started) if run.options.replay else ():
        run.emit.warn(f"Not as recorded: {change}.")
    for warning in shortcomings(sandbox, run.spec.network):
        run.emit.warn(warning)


def _make_out(out: Path) -> None:
    """Before anything runs: it would be a pity to find out afterwards."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The results can't be copied there: {error.strerror}.", where=str(out)) from error


def _copy_results(results: Path, out: Path) -> None:
    try:
        shutil.copytree(results, out, dirs_exist_ok=True)
    except OSError as error:
        hint = f"They are in {results}."
        raise InputError(f"The results can't be copied: {error}.", where=str(out), hint=hint) from error


def work(job: Work, sandbox: Sandbox) -> AgentFinished:
    """Runs the agent to its end, whatever that is, and says how it ended. Raises what the sandbox raises."""
    deadline = time.monotonic() + job.limits.timeout_s
    retries = 0
    while True:
        # The mission and the inputs go in with the agent's own files: each call of the engine takes a twentieth second.
        given = () if retries else job.files
        tried = attempt(job, sandbox, deadline - time.monotonic(), given)
        delay = _delay(tried, retries, left_s=deadline - time.monotonic())
        if delay is None:
            return tried.end
        retries += 1
        error, kind = tried.end.error or "", tried.end.error_kind or ""
        job.emit(AgentRetried(retry=retries, delay_s=round(delay, 3), error=error, error_kind=kind))
        _wait(job, delay)
        if job.cancellation.requested:
            return tried.end.model_copy(update={"ended_by": "cancel", "error": None, "error_kind": None})


def _delay(tried: Attempt, retries: int, *, left_s: float) -> float | None:
    """Seconds until the agent is started again; `None`: it is not. Only an agent that had not begun to work is."""
    if tried.begun or tried.end.error is None or tried.end.ended_by not in ("exit", "idle"):
        return None
    delay = retry_delay(tried.end.error_kind, retries)
    return delay if delay is not None and delay < left_s else None


def _wait(job: Work, seconds: float) -> None:
    """A request to stop ends it."""
    stop = threading.Event()
    with job.cancellation.stops_with(stop.set):
        stop.wait(seconds)


def let_work(run: Run, sandbox: Sandbox) -> AgentFinished:
    """Runs the agent to its end, whatever that is, with its model at hand if it needs one."""
    with _model(run, sandbox) as access, unpacked(run.spec.inputs) as inputs:
        run.emit(
            AgentStarted(
                agent=run.agent.name, version=run.agent.version, model=run.spec.model, provider=run.spec.provider
            )
        )
        job = _job(run, sandbox, access, inputs)
        end = with_limits(work(job, sandbox), sandbox, run.spec.limits, job.log_folder, run.emit)
        run.emit(end)
        return end


def _model(run: Run, sandbox: Sandbox) -> AbstractContextManager[ModelAccess | None]:
    if run.upstream is None:
        return nullcontext()
    from runbook_runner.gateway import Cassette

    cassette = Cassette(run.folder / "model", run.redactor, run.options.record_mode)
    upstream = _placed(run, run.upstream, cassette, sandbox.app)
    return model_access(upstream, sandbox.gateway_host(), cassette, run.token, run.spec.limits, run.emit)


def _placed(run: Run, upstream: "Upstream", cassette: "Cassette", app: str) -> "Upstream":
    """Only a replay cares where it is."""
    from runbook_runner.gateway import Replay

    replay = run.options.replay
    return replay.placed(upstream, cassette, app) if replay and isinstance(upstream, Replay) else upstream


def _job(run: Run, sandbox: Sandbox, access: ModelAccess | None, inputs: list[PutFile]) -> Work:
    mission = sandbox.localise(run.spec.mission)
    secrets = credentials.agent_secrets(run.spec, run.options.environ)
    assignment = Assignment(
        mission=mission,
        app=sandbox.app,
        blocks=step_blocks(mission),
        model=run.spec.model,
        gateway_url=access.url if access else None,
        token=access.session.token if access else None,
        parameters=run.spec.parameters,
        input_names=shown_names(run.spec.inputs, inputs),
        secret_names=tuple(secrets),
        mcp_servers=servers_with_secrets(run.spec, run.options.environ),
    )
    return Work(
        agent=run.agent,
        assignment=assignment,
        files=[PutFile(settings.MISSION_FILE, mission.encode()), *inputs],
        secrets=secrets,
        environ={name: sandbox.localise(value) for name, value in agent_environ(run.spec, run.trajectory_id).items()},
        limits=run.spec.limits,
        session=access.session if access else None,
        log_folder=run.folder / "agent",
        emit=run.emit,
        redactor=run.redactor,
        cancellation=run.options.cancellation,
    )


def agent_environ(spec: RunSpec, trajectory_id: str) -> dict[str, str]:
    """Contract §5.8."""
    return {
        "RESULTS_DIR": settings.RESULTS,
        "ASSETS_DIR": settings.ASSETS,
        "CHECKS_DIR": settings.CHECKS,
        "JETTY_TRAJECTORY_ID": trajectory_id,
        "JETTY_COLLECTION": spec.collection,
        "JETTY_TASK": spec.task,
    }


def bring_home(run: Run, sandbox: Sandbox, end: AgentFinished) -> AgentFinished:
    """The agent's end, which too much to collect makes a failure; but what the agent itself failed of comes first."""
    try:
        collect(
            sandbox,
            run.spec,
            run.agent,
            trajectory_id=run.trajectory_id,
            folder=run.folder,
            redactor=run.redactor,
            emit=run.emit,
        )
    except RunbookError as error:
        if error.code != "limit_exceeded":
            raise
        run.emit(Log(level="error", message=str(error)))
        if end.error is None:
            return end.model_copy(update={"error": error.message, "error_kind": error.code})
    return end


def judge(run: Run, end: AgentFinished) -> None:
    agent_ok = end.error is None and end.ended_by == "exit"
    run.emit(evaluate(run.folder / RESULTS, run.spec.outputs, agent_ok=agent_ok))
