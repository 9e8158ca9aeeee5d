"""Runner: what every start of a run's agent CLI is given: prompt, files, variables, limits and its model session."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_runner.agents.base import Agent, AgentInput
from runbook_runner.core import settings
from runbook_runner.core.events import Emit
from runbook_runner.core.redaction import Redactor
from runbook_runner.core.spec import Limits, RunSpec
from runbook_runner.runner.cancellation import Cancellation
from runbook_runner.runner.live_run import Run
from runbook_runner.runner.request.inputs import shown_names
from runbook_runner.runner.request.secrets import agent_secrets, servers_with_secrets
from runbook_runner.sandbox.base import PutFile, Sandbox
from runbook_runner.trajectory.folders import AGENT

if TYPE_CHECKING:
    from runbook_runner.gateway import Session
    from runbook_runner.runner.model_access import ModelAccess


@dataclass(frozen=True)
class Launch:
    agent: Agent
    agent_input: AgentInput
    files: Sequence[PutFile]
    """The mission and the inputs."""
    secrets: Mapping[str, str]
    """Variables with secret values, for the agent's environment."""
    environ: Mapping[str, str]
    """Other variables, the same for every agent."""
    limits: Limits
    session: "Session | None"
    """Its model session; `None` when the agent needs no model."""
    log_folder: Path
    emit: Emit
    redactor: Redactor
    cancellation: Cancellation


def launch_of(run: Run, sandbox: Sandbox, model: "ModelAccess | None", inputs: list[PutFile]) -> Launch:
    mission = sandbox.localise(run.spec.told)
    placed = {settings.MISSION_FILE: PutFile(settings.MISSION_FILE, mission.encode())}
    placed |= {file.path: file for file in run.prepared.placed}
    environ = {**agent_environ(run.spec, run.trajectory_id), **run.prepared.variables}
    secrets = agent_secrets(run.spec, run.prepared.secrets.values)
    agent_input = AgentInput(
        mission=mission,
        app=sandbox.app,
        blocks=tuple(block._replace(code=sandbox.localise(block.code)) for block in run.spec.blocks),
        model=run.spec.model,
        gateway_url=model.url if model else None,
        token=model.session.token if model else None,
        parameters=run.spec.parameters,
        input_names=shown_names(run.spec.inputs, inputs),
        secret_names=tuple(secrets),
        mcp_servers=servers_with_secrets(run.spec, run.prepared.secrets.values),
    )
    return Launch(
        agent=run.agent,
        agent_input=agent_input,
        files=[*placed.values(), *inputs],
        secrets=secrets,
        environ={name: sandbox.localise(value) for name, value in environ.items()},
        limits=run.spec.limits,
        session=model.session if model else None,
        log_folder=run.folder / AGENT,
        emit=run.emit,
        redactor=run.redactor,
        cancellation=run.cancellation,
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
