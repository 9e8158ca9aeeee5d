"""Runner: the pipeline: record, image, sandbox, model, agent, collect, evaluate, finish. Read `_phases` from top to
bottom: each phase of a run is one call."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from runbook_runner.agents.failures import advice
from runbook_runner.core.criteria import Criteria
from runbook_runner.core.errors import AgentError, CancelledError, RecordingError, RunbookError
from runbook_runner.core.events import AgentFinished, AgentStarted, Event, Log, SandboxStarted, Status
from runbook_runner.core.redaction import mark
from runbook_runner.core.spec import InputFile
from runbook_runner.evaluation.verdict import evaluate
from runbook_runner.runner.agent.launch import launch_of
from runbook_runner.runner.agent.retries import run_agent
from runbook_runner.runner.cancellation import Cancellation, Interrupt
from runbook_runner.runner.checks.commands import SandboxCommands
from runbook_runner.runner.checks.report import replace_report, tell_changes
from runbook_runner.runner.environment.backends import Prepared, shortcomings
from runbook_runner.runner.limits import with_limits
from runbook_runner.runner.live_run import Run, finish, recorded
from runbook_runner.runner.outcome import Outcome
from runbook_runner.runner.recovery.cancel import cancelled_by_others
from runbook_runner.runner.recovery.recover import sweep
from runbook_runner.runner.request.inputs import keep_inputs, require_unchanged, unpacked
from runbook_runner.runner.request.prepared_run import PreparedRun
from runbook_runner.runner.request.secrets import agent_secrets, explain_withheld, weak_secrets, withheld
from runbook_runner.runner.results.collect import Collected, collect
from runbook_runner.runner.results.deliver import deliver, make_place
from runbook_runner.runner.results.earlier import Earlier
from runbook_runner.sandbox.base import Sandbox, Stamp
from runbook_runner.sandbox.paths import app_restorer
from runbook_runner.trajectory.folders import JUDGE, RESULTS
from runbook_runner.trajectory.recorder import Reader

if TYPE_CHECKING:
    from runbook_runner.evaluation.judge.model import Judge
    from runbook_runner.runner.checks.clones import Clones
    from runbook_runner.runner.model_access import ModelAccess

_SHARE_OF_DISK = 4
"""The recorded model calls may take this part of the sandbox's disk limit on this machine."""


def run(prepared: PreparedRun, readers: Sequence[Reader] = (), cancellation: Cancellation | None = None) -> Outcome:
    """Runs and records. readers: get every event as it happens. Raises RunbookError for what is wrong before anything
    is recorded, and RecordingError at any time; every other error is in the outcome and in the trajectory. An exception
    of a reader is raised when the run is over and recorded."""
    out, cancellation = prepared.options.out, cancellation or Cancellation()
    if out:
        make_place(out)
    sweep(prepared.settings.data, prepared.backend, cancellation.check)
    cancellation.check()
    with recorded(prepared, readers, cancellation) as run, cancelled_by_others(run.claim, cancellation):
        outcome = _to_its_end(run)
        run.claim.settle()
        return deliver(outcome, out) if out else outcome


def _to_its_end(run: Run) -> Outcome:
    """However the run ends, its last event says so; only a record that can't be written any more has no end."""
    try:
        status, error = _status(_phases(run))
    except CancelledError as cancelled:
        return finish(run, "cancelled", cancelled)
    except Interrupt:
        return finish(run, "cancelled", CancelledError("The run was cancelled."))
    except RecordingError:
        raise
    except RunbookError as failed:
        return finish(run, "failed", failed)
    except Exception as bug:
        finish(run, "failed", RunbookError(f"internal error: {type(bug).__name__}"))
        raise
    except BaseException:  # KeyboardInterrupt, where the caller handles no signals
        finish(run, "cancelled", CancelledError("The run was cancelled."))
        raise
    return finish(run, status, error)


def _phases(run: Run) -> AgentFinished:
    _tell_plan(run)
    clones = _clones(run)
    if clones:
        clones.probe()
    inputs = keep_inputs(run.spec, run.folder, run.redactor, run.emit)
    ready = _image(run)
    run = replace(run, agent=ready.agent)
    # Both stay open while the run is evaluated: checks run in the sandbox, judges ask the gateway.
    with _sandbox(run, ready) as sandbox, _model(run, sandbox) as model:
        note = partial(_note_before, run)
        earlier = Earlier(sandbox, run.claim.work, run.spec.limits, brings_files=ready.brings_files, note=note)
        if clones:
            clones.put_for_agent(sandbox)
        end, collected = _work(run, sandbox, model, inputs, earlier)
        _evaluate(run, sandbox, model, clones, end, collected)
    _tell_doubts(run)
    run.cancellation.check()
    return end


def _note_before(run: Run, files: Mapping[str, Stamp]) -> None:
    """A claim says nothing of secrets."""
    run.claim.note_before({path: stamp for path, stamp in files.items() if run.redactor.clean(path) == path})


def _tell_plan(run: Run) -> None:
    """What its user should know before anything happens."""
    prepared = run.prepared
    for doubt in prepared.doubts:
        run.emit.doubt(doubt)
    for warning in prepared.warnings:
        run.emit.warn(warning)
    for warning in weak_secrets(run.spec, prepared.secrets.values):
        run.emit.warn(warning)
    for secret in withheld(run.spec):
        run.emit.warn(explain_withheld(run.spec, secret))
    given = agent_secrets(run.spec, prepared.secrets.values)
    stand_ins = [name for name, value in given.items() if value == mark(name)]
    if names := ", ".join(name for name in given if name not in stand_ins):
        run.emit(Log(message=f"The agent gets the secrets {names}."))
    if stand_ins:
        run.emit(Log(message=f"The agent gets stand-ins for the secrets {', '.join(stand_ins)}, not their values."))
    if prepared.model_address:
        run.emit(Log(message=f"Model calls go to {prepared.model_address}."))
    if run.spec.judge and prepared.judge is None:
        run.emit(Log(message=f"{run.spec.judge.model} does not judge the results: the recording has no answers of it."))
    if run.spec.judge and prepared.judge and prepared.judge.address:
        run.emit(Log(message=f"The results go to the judge, {run.spec.judge.model} at {prepared.judge.address}."))


def _image(run: Run) -> Prepared:
    def report(line: str, *, detail: bool = False) -> None:
        run.cancellation.check()  # a request of another thread
        run.emit(Log(level="debug" if detail else "info", message=line, source="image"))

    with run.emit.phase("image"), run.cancellation.interruptible():
        may_build = run.prepared.trust.require_snapshot
        ready = run.prepared.backend.prepare(run.spec, run.agent, run.claim, report, run.emit, may_build)
    run.cancellation.check()
    return ready


@contextmanager
def _sandbox(run: Run, ready: Prepared) -> Iterator[Sandbox]:
    """The sandbox exists in this block and not after it, unless the user wants to keep it, or the run can't be recorded
    any more: the next start collects what is in it then."""
    sandbox = ready.sandbox
    try:
        with run.cancellation.abandons_with(sandbox.stop):
            with run.emit.phase("sandbox"):
                with run.cancellation.interruptible():
                    sandbox.start()
                _tell(run, ready)
            run.cancellation.check()
            yield sandbox
    except RecordingError:
        raise
    except BaseException:
        _stop(run, sandbox)
        raise
    if run.prepared.options.keep:
        there = f"`runbook attach {run.trajectory_id}` opens a shell in it, `runbook clean --kept` removes it"
        run.emit(Log(message=f"Kept the sandbox: {there}."))
    else:
        _stop(run, sandbox)


def _stop(run: Run, sandbox: Sandbox) -> None:
    try:
        sandbox.stop()
    except RunbookError:
        run.claim.leave()
        raise


def _tell(run: Run, ready: Prepared) -> None:
    sandbox, replay = ready.sandbox, run.prepared.replay
    started = SandboxStarted(
        backend=sandbox.backend,
        sandbox_id=sandbox.sandbox_id,
        image=ready.image,
        image_digest=ready.image_digest,
        image_pinned=ready.image_pinned,
        app=sandbox.app,
        limits=dict(sandbox.holds()),
    )
    run.emit(started)
    for change in replay.changes(started) if replay else ():
        run.emit.warn(f"Not as recorded: {change}.")
    for warning in shortcomings(sandbox, run.spec.network):
        run.emit.warn(warning)


def _model(run: Run, sandbox: Sandbox) -> "AbstractContextManager[ModelAccess | None]":
    """`None` for an agent that calls no model: its run does not pay for importing the gateway, either."""
    if run.prepared.upstream is None:
        return nullcontext()
    from runbook_runner.gateway import Cassette, Replay
    from runbook_runner.runner.model_access import model_access

    upstream, replay = run.prepared.upstream.placed(sandbox.localise), run.prepared.replay
    most = _most_recorded(run)
    cassette = Cassette(run.folder / "model", run.redactor, run.prepared.record_mode, most_bytes=most)
    if replay and isinstance(upstream, Replay):
        upstream = replay.recorded_with(upstream, cassette, sandbox.app)
    limits, within = run.spec.limits, run.prepared.within
    return model_access(upstream, sandbox.gateway_host(), cassette, run.token, limits, within, run.emit)


def _agent(
    run: Run, sandbox: Sandbox, model: "ModelAccess | None", inputs: tuple[InputFile, ...], earlier: Earlier
) -> AgentFinished:
    """The agent's session ends with it: what the agent left running makes no more model calls. inputs: as they were
    read when the run began; an image may have been built for minutes since."""
    require_unchanged(inputs)
    agent, spec = run.agent, run.spec
    session = closing(model.session) if model else nullcontext()
    with run.emit.phase("agent") as phase, session, unpacked(inputs) as files:
        run.emit(
            AgentStarted(
                agent=agent.name,
                version=agent.version,
                model=spec.model,
                provider=spec.provider,
                model_address=run.prepared.model_address,
                secrets=tuple(run.prepared.secrets.values),
            )
        )
        launch = launch_of(run, sandbox, model, files)
        end = with_limits(run_agent(launch, sandbox, earlier.look), sandbox, spec.limits, launch.log_folder, run.emit)
        run.emit(end)
        phase.ok = end.ended_well
        return end


def _work(
    run: Run, sandbox: Sandbox, model: "ModelAccess | None", inputs: tuple[InputFile, ...], earlier: Earlier
) -> tuple[AgentFinished, Collected]:
    """What the agent has made is collected also when its start fails, as far as it can be reached: by a bug, or because
    the sandbox is lost."""
    try:
        end = _agent(run, sandbox, model, inputs, earlier)
    except RecordingError:
        raise
    except Exception:
        with suppress(RunbookError):
            _collect(run, sandbox, earlier)
        raise
    return end, _collect(run, sandbox, earlier)


def _collect(run: Run, sandbox: Sandbox, earlier: Earlier) -> Collected:
    with run.emit.phase("collect"):
        return collect(
            sandbox,
            run.spec,
            run.agent,
            trajectory_id=run.trajectory_id,
            folder=run.folder,
            work=run.claim.work,
            redactor=run.redactor,
            emit=run.emit,
            before=earlier.files,
            edited=run.prepared.edited,
        )


def _judge(run: Run, sandbox: Sandbox, model: "ModelAccess | None") -> "AbstractContextManager[Judge | None]":
    """`None` for a run that is not judged."""
    upstream = run.prepared.judge
    if upstream is None or run.spec.judge is None:
        return nullcontext()
    from runbook_runner.gateway import Cassette, Replay
    from runbook_runner.runner.judge.access import judge_access

    cassette = Cassette(run.folder / JUDGE, run.redactor, run.prepared.record_mode, most_bytes=_most_recorded(run))
    if isinstance(upstream, Replay):
        upstream = upstream.recorded_with(cassette.clean_json, str, str)

    agent = model.session if model else None
    choice, task, limits, to_app = run.spec.judge, run.spec.mission, run.spec.limits, app_restorer(sandbox.app)
    within = run.prepared.within
    return judge_access(upstream, choice, cassette, task, to_app, limits, run.emit, run.cancellation, agent, within)


def _most_recorded(run: Run) -> int:
    return run.spec.limits.disk_bytes // _SHARE_OF_DISK


def _clones(run: Run) -> "Clones | None":
    if not run.spec.criteria.checks.sources:
        return None
    from runbook_runner.runner.checks.clones import Clones  # imports the client of git, which most runs do without

    return Clones(run)


def _evaluate(
    run: Run,
    sandbox: Sandbox,
    model: "ModelAccess | None",
    clones: "Clones | None",
    end: AgentFinished,
    collected: Collected,
) -> None:
    """The results are at home: no check changes them, nor does a later start when this process dies now."""
    run.claim.note_collected()

    def tell(event: Event) -> None:
        run.emit(event)
        run.cancellation.check()  # some checks only read the results, and each may take minutes

    criteria = Criteria() if end.ended_by == "cancel" else run.spec.criteria
    with (
        run.emit.phase("evaluate") as phase,
        SandboxCommands(run, sandbox, clones) as command,
        _judge(run, sandbox, model) as judge,
    ):
        evaluation = evaluate(
            run.folder / RESULTS, run.spec.outputs, criteria, end, command, run.cancellation.ends_with, tell, judge
        )
        if command.used:
            tell_changes(run, sandbox, collected.stamps)
        if evaluation.report:
            replace_report(run, collected.log, evaluation.report)
        run.emit(evaluation.event)
        phase.ok = evaluation.event.verdict == "pass"


def _tell_doubts(run: Run) -> None:
    """What its user should know when it is over."""
    replay = run.prepared.replay
    for doubt in run.tally.doubts(is_compared=bool(replay and (replay.is_compared or replay.is_incremental))):
        run.emit.doubt(doubt)


def _status(end: AgentFinished) -> tuple[Status, RunbookError | None]:
    if end.ended_by == "cancel":
        return "cancelled", CancelledError("The run was cancelled.")
    if end.error:
        return "failed", AgentError(end.error, hint=advice(end.error_kind))
    return "completed", None
