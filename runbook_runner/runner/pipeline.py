"""Runner: the pipeline. Read `_phases` top to bottom: each phase of a run is one call."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_runner import __version__, agents, ids, settings
from runbook_runner.agents import Agent, Assignment
from runbook_runner.errors import AgentError, CancelledError, InputError, RecordingError, RunbookError
from runbook_runner.evaluation import evaluate
from runbook_runner.events import (
    AgentFinished,
    AgentStarted,
    Event,
    Log,
    PhaseFinished,
    PhaseStarted,
    RunFinished,
    RunStarted,
    SandboxStarted,
    Status,
)
from runbook_runner.files import write_atomically
from runbook_runner.redaction import Redactor
from runbook_runner.runbook.steps import step_blocks
from runbook_runner.runner import credentials, recovery
from runbook_runner.runner.attempt import Work
from runbook_runner.runner.backends import Backend, Prepared, Report, choose_backend
from runbook_runner.runner.cancellation import Cancellation
from runbook_runner.runner.claims import Claim, Entry
from runbook_runner.runner.collect import collect
from runbook_runner.runner.inputs import keep_inputs
from runbook_runner.runner.limits import with_limits
from runbook_runner.runner.mcp import servers_with_secrets
from runbook_runner.runner.model import ModelAccess, find_upstream, model_access
from runbook_runner.runner.work import work
from runbook_runner.sandbox import PutFile, Sandbox
from runbook_runner.settings import RecordMode, Settings
from runbook_runner.spec import RunSpec
from runbook_runner.trajectory.models import Trajectory
from runbook_runner.trajectory.recorder import Reader, Recorder
from runbook_runner.trajectory.sandbox_log import SandboxLog
from runbook_runner.trajectory.store import MISSION_FILE, SPEC_FILE, create_folder, write_fold

if TYPE_CHECKING:
    from runbook_runner.gateway import Cassette, Upstream
    from runbook_runner.runner.replay import Replaying


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
    author: str = "local"
    readers: Sequence[Reader] = ()
    cancellation: Cancellation = field(default_factory=Cancellation)


@dataclass(frozen=True)
class Outcome:
    trajectory: Trajectory
    folder: Path
    error: RunbookError | None
    """What ended the run early; `None` when it went through, whatever its verdict."""


@dataclass(frozen=True)
class _Run:
    """What every phase needs."""

    spec: RunSpec
    options: RunOptions
    agent: Agent
    backend: Backend
    upstream: "Upstream | None"
    token: str
    """Opens the gateway for this run's sandbox."""
    trajectory_id: str
    folder: Path
    claim: Claim
    redactor: Redactor
    emit: "Emitter"


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


def run(spec: RunSpec, options: RunOptions) -> Outcome:
    """Runs the spec and records it. Raises RunbookError for what is wrong before anything is recorded, and
    RecordingError at any time; everything else that goes wrong is in the outcome and in the trajectory."""
    agent = agents.find_agent(spec.agent, spec.near)
    credentials.require_secrets(spec, options.environ)
    # A rehearsal: what the agent would refuse is refused before anything starts.
    agent.invoke(Assignment(spec.mission, app=settings.APP, blocks=step_blocks(spec.mission), model=spec.model))
    upstream = find_upstream(agent, spec, options.model_script, options.environ, options.replay)
    backend = choose_backend(options.backend, spec, agent, options.settings, strict_snapshot=options.strict_snapshot)
    if options.out:
        _make_out(options.out)
    recovery.sweep(options.settings.home, backend)
    trajectory_id, folder = create_folder(options.settings.home, spec.collection, spec.task)
    token = ids.new_run_token()
    provider = upstream.secret_values() if upstream else {}
    redactor = credentials.redactor_for(spec, options.environ, {**provider, "RUN_TOKEN": token})
    with ExitStack() as stack:
        entry = Entry(trajectory_id, str(folder), backend.name, temp=tempfile.gettempdir())
        claim = stack.enter_context(Claim(options.settings.home, entry, keep=options.keep))
        recorder = Recorder(folder, redactor, (SandboxLog(folder), *options.readers))
        stack.callback(recorder.close)
        emit = Emitter(recorder)
        this = _Run(spec, options, agent, backend, upstream, token, trajectory_id, folder, claim, redactor, emit)
        return _recorded(this)


def _recorded(run: _Run) -> Outcome:
    """However the run ends, its last event says so; only a record that can't be written any more has no end."""
    began = time.monotonic()
    _write_down(run)
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
        _copy_results(run.folder / "results", run.options.out)
    return Outcome(trajectory, run.folder, error)


def _finish(run: _Run, status: Status, error: RunbookError | None, began: float) -> Trajectory:
    seconds = round(time.monotonic() - began, 3)
    message, code = (error.message, error.code) if error else (None, None)
    run.emit(RunFinished(status=status, error=message, error_code=code, seconds=seconds))
    return write_fold(run.folder)


def _write_down(run: _Run) -> None:
    """What was asked, before anything happens."""
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
            init_params=_init_params(run),
            step_config=_step_config(spec),
            labels=spec.labels,
            engine=f"runbook-runner/{__version__}",
            replay=run.options.replay.described() if run.options.replay else None,
        )
    )


def _init_params(run: _Run) -> dict[str, object]:
    """As the platform records a runbook run (contract §6.8)."""
    spec = run.spec
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


def _step_config(spec: RunSpec) -> dict[str, object]:
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


def _phases(run: _Run) -> AgentFinished:
    """The run itself: image, sandbox, agent, collect, evaluate."""
    cancellation = run.options.cancellation
    for secret in credentials.withheld(run.spec):
        run.emit.warn(credentials.explain_withheld(run.spec, secret))
    for note in run.options.replay.notes if run.options.replay else ():
        run.emit.warn(note)
    keep_inputs(run.spec, run.folder, run.redactor, run.emit)
    with run.emit.phase("image"):
        prepared = run.backend.prepare(
            run.spec, run.agent, run.trajectory_id, run.claim.labels(), _reporter(run), run.emit
        )
    cancellation.check()
    sandbox = prepared.sandbox
    with _alive(run, sandbox):
        with run.emit.phase("sandbox"):
            _set_up(run, prepared)
        cancellation.check()
        with run.emit.phase("agent"), _model(run, sandbox) as access:
            end = _work(run, sandbox, access)
        # Whoever stops the run now still gets what the agent made.
        with run.emit.phase("collect"), cancellation.stops_with(lambda: None):
            end = _collect(run, sandbox, end)
    with run.emit.phase("evaluate"):
        run.emit(
            evaluate(run.folder / "results", run.spec.outputs, agent_ok=end.error is None and end.ended_by == "exit")
        )
    cancellation.check()
    return end


def _reporter(run: _Run) -> Report:
    def report(line: str) -> None:
        run.options.cancellation.check()
        run.emit(Log(message=line, source="image"))

    return report


@contextmanager
def _alive(run: _Run, sandbox: Sandbox) -> Iterator[None]:
    """The sandbox exists in this block and nowhere after it, unless the user wants to keep it."""
    try:
        with run.options.cancellation.abandons_with(sandbox.stop):
            yield
    except BaseException:
        sandbox.stop()
        raise
    if run.options.keep:
        run.emit(Log(message=f"Kept the sandbox {sandbox.sandbox_id}."))
    else:
        sandbox.stop()


def _set_up(run: _Run, prepared: Prepared) -> None:
    sandbox = prepared.sandbox
    sandbox.start()
    run.emit(
        SandboxStarted(
            backend=sandbox.backend,
            sandbox_id=sandbox.sandbox_id,
            image=prepared.image,
            image_digest=prepared.image_digest,
            image_pinned=prepared.image_pinned,
            app=sandbox.app,
        )
    )
    if sandbox.backend == "host":
        run.emit.warn("The host sandbox isolates nothing: the agent can read and change whatever you can.")
    if sandbox.backend == "bubblewrap" and run.spec.network.policy == "full":
        run.emit.warn("With the network policy full, bubblewrap shares this machine's network and its local services.")


def _model(run: _Run, sandbox: Sandbox) -> AbstractContextManager[ModelAccess | None]:
    if run.upstream is None:
        return nullcontext()
    from runbook_runner.gateway import Cassette

    cassette = Cassette(run.folder / "model", run.redactor, run.options.record_mode)
    upstream = _placed(run, run.upstream, cassette, sandbox.app)
    return model_access(upstream, sandbox.gateway_host(), cassette, run.token, run.spec.limits, run.emit)


def _placed(run: _Run, upstream: "Upstream", cassette: "Cassette", app: str) -> "Upstream":
    """Only a replay cares where it is."""
    from runbook_runner.gateway import Replay

    replay = run.options.replay
    return replay.placed(upstream, cassette, app) if replay and isinstance(upstream, Replay) else upstream


def _work(run: _Run, sandbox: Sandbox, access: ModelAccess | None) -> AgentFinished:
    spec = run.spec
    secrets = credentials.agent_secrets(spec, run.options.environ)
    mission = sandbox.localise(spec.mission)
    assignment = Assignment(
        mission=mission,
        app=sandbox.app,
        blocks=step_blocks(mission),
        model=spec.model,
        gateway_url=access.url if access else None,
        token=access.session.token if access else None,
        parameters=spec.parameters,
        input_names=tuple(item.name for item in spec.inputs),
        secret_names=tuple(secrets),
        mcp_servers=servers_with_secrets(spec, run.options.environ),
    )
    run.emit(AgentStarted(agent=run.agent.name, version=run.agent.version, model=spec.model, provider=spec.provider))
    job = Work(
        agent=run.agent,
        assignment=assignment,
        files=[
            PutFile(settings.MISSION_FILE, mission.encode()),
            *(PutFile(f"{settings.ASSETS}/{item.name}", Path(item.source)) for item in spec.inputs),
        ],
        secrets=secrets,
        environ={name: sandbox.localise(value) for name, value in _agent_environ(run).items()},
        limits=spec.limits,
        session=access.session if access else None,
        log_folder=run.folder / "agent",
        emit=run.emit,
        redactor=run.redactor,
        cancellation=run.options.cancellation,
    )
    end = with_limits(work(job, sandbox), sandbox.limits_hit, run.emit)
    run.emit(end)
    return end


def _agent_environ(run: _Run) -> dict[str, str]:
    """Contract §5.8."""
    return {
        "RESULTS_DIR": settings.RESULTS,
        "ASSETS_DIR": settings.ASSETS,
        "CHECKS_DIR": settings.CHECKS,
        "JETTY_TRAJECTORY_ID": run.trajectory_id,
        "JETTY_COLLECTION": run.spec.collection,
        "JETTY_TASK": run.spec.task,
    }


def _collect(run: _Run, sandbox: Sandbox, end: AgentFinished) -> AgentFinished:
    """Too much to collect fails the run, but what the agent itself failed of comes first."""
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


def _status(end: AgentFinished) -> tuple[Status, RunbookError | None]:
    if end.ended_by == "cancel":
        return "cancelled", CancelledError("The run was cancelled.")
    if end.error:
        return "failed", AgentError(end.error)
    return "completed", None


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
