"""Runner: the phases of a run that has its sandbox: the agent works, its results come home, they are judged. The
pipeline loads this while the sandbox starts."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from runbook_runner.agents.base import Assignment
from runbook_runner.core import settings
from runbook_runner.core.errors import RunbookError
from runbook_runner.core.events import AgentFinished, AgentStarted, Log
from runbook_runner.core.spec import RunSpec
from runbook_runner.evaluation import evaluate
from runbook_runner.runbook.parts.steps import step_blocks
from runbook_runner.runner import credentials
from runbook_runner.runner.attempt import Work
from runbook_runner.runner.collect import collect
from runbook_runner.runner.inputs import shown_names, unpacked
from runbook_runner.runner.limits import with_limits
from runbook_runner.runner.mcp import servers_with_secrets
from runbook_runner.runner.model import ModelAccess, model_access
from runbook_runner.runner.underway import Run
from runbook_runner.runner.work import work
from runbook_runner.sandbox.base import PutFile, Sandbox
from runbook_runner.trajectory.store import RESULTS

if TYPE_CHECKING:
    from runbook_runner.gateway import Cassette, Upstream


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
