"""Runner, attach: a command in the sandbox of a live run, or of one that was run with --keep."""

from collections.abc import Sequence
from pathlib import Path

from runbook_runner.agents.registry import find_agent
from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.events import SandboxStarted
from runbook_runner.core.settings import Settings
from runbook_runner.runner.agent.launch import agent_environ
from runbook_runner.runner.attach.shell import terminal_variables
from runbook_runner.runner.environment.backends import ChosenBackend
from runbook_runner.runner.recovery import claims
from runbook_runner.runner.replay.recorded_run import RecordedRun, read_recorded_run
from runbook_runner.runner.request.secrets import agent_secrets, grant_recorded
from runbook_runner.runner.request.variables import UserVariables
from runbook_runner.sandbox.backends import find_backend
from runbook_runner.sandbox.base import Attached
from runbook_runner.sandbox.labels import KEEP_LABEL, LOCK_LABEL, RUN_LABEL, Labels
from runbook_runner.trajectory.store import read_events


def attach(
    asked: Settings, name: str, argv: Sequence[str], user: UserVariables, typed: Sequence[str], *, tty: bool
) -> Attached:
    """Starts a command in the sandbox of a run, a shell when argv is empty. typed: names of variables that the user
    grants to it. Raises InputError when the run has no sandbox, NotReadyError when it has none any more,
    SandboxError."""
    recorded = read_recorded_run(asked.require_home(), name, [Path.cwd()])
    events = (item.event for item in read_events(recorded.folder))
    started = next((event for event in events if isinstance(event, SandboxStarted)), None)
    if started is None:
        raise InputError(f"The run {recorded.trajectory_id} has no sandbox (yet).")
    run_id = recorded.trajectory_id
    spec, granted = grant_recorded(recorded.spec, typed, user)
    backend = find_backend(started.backend)
    chosen = ChosenBackend(backend, backend.open(None), asked)
    labels = chosen.opened.labels(started.sandbox_id)
    if labels is None:
        raise _gone(recorded)
    if not backend.has_engine:  # a container and what runs in it do not need the run's process
        _check_alive(recorded, labels)
    sandbox = chosen.reopen(spec, find_agent(spec.agent, spec.near), run_id, started.sandbox_id)
    variables = {variable: sandbox.localise(value) for variable, value in agent_environ(spec, run_id).items()}
    env = {**variables, **agent_secrets(spec, granted.values), **terminal_variables(user.environment, tty=tty)}
    return sandbox.attach(argv, env=env, tty=tty)


def _check_alive(recorded: RecordedRun, labels: Labels) -> None:
    """Raises NotReadyError for a folder that is another run's by now, or that only waits to be removed."""
    if labels.get(RUN_LABEL) != recorded.trajectory_id:
        raise _gone(recorded)
    lock = labels.get(LOCK_LABEL)
    if not lock or labels.get(KEEP_LABEL):
        return
    with claims.if_dead(Path(lock), look_only=True) as dead:
        if dead:
            raise NotReadyError(
                f"The process of the run {recorded.trajectory_id} was killed.",
                hint="The next `runbook run`, or `runbook clean`, collects its results.",
            )


def _gone(recorded: RecordedRun) -> NotReadyError:
    how = f"has ended ({recorded.end.status})" if recorded.end else "is running, but its sandbox is gone"
    return NotReadyError(
        f"The run {recorded.trajectory_id} {how}.",
        hint=f"`runbook shell {recorded.trajectory_id}` opens a sandbox like its own; --keep leaves one after a run.",
    )
