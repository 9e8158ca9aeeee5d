"""Runner, attach: a command in the sandbox of a live run, or of one that was run with --keep."""

from collections.abc import Sequence
from pathlib import Path

from runbook_runner.agents.registry import find_agent
from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.settings import Settings
from runbook_runner.runner.agent.launch import agent_environ
from runbook_runner.runner.attach.shell import terminal_variables
from runbook_runner.runner.environment.backends import ChosenBackend
from runbook_runner.runner.recovery import claims
from runbook_runner.runner.replay.recorded_run import RecordedRun, read_recorded_run
from runbook_runner.runner.request.secrets import agent_secrets, grant_recorded
from runbook_runner.runner.request.variables import UserVariables
from runbook_runner.sandbox.backends import BACKENDS, OpenBackend
from runbook_runner.sandbox.base import Attached
from runbook_runner.sandbox.temp_folders import own_folders


def attach(
    asked: Settings, name: str, argv: Sequence[str], user: UserVariables, typed: Sequence[str], *, tty: bool
) -> Attached:
    """Starts a command in the sandbox of a run, a shell when argv is empty. typed: names of variables that the user
    grants to it. Raises InputError when the run has no sandbox, NotReadyError when it has none any more,
    SandboxError."""
    recorded = read_recorded_run(asked.require_home(), name, [Path.cwd()])
    if recorded.backend is None:
        raise InputError(f"The run {recorded.trajectory_id} has no sandbox (yet).")
    spec, granted = grant_recorded(recorded.spec, typed, user)
    claim = _claim(asked.data, recorded)
    backend = BACKENDS.get(claim.entry.backend) if claim and claim.entry else None
    if claim is None or backend is None:
        raise _gone(recorded)
    opened = backend.open(None)
    sandbox_id = _living(claim, opened, recorded)
    sandbox = ChosenBackend(backend, opened, asked).reopen(spec, find_agent(spec.agent, spec.near), sandbox_id)
    listed = agent_environ(spec, recorded.trajectory_id)
    variables = {variable: sandbox.localise(value) for variable, value in listed.items()}
    env = {**variables, **agent_secrets(spec, granted.values), **terminal_variables(user.environment, tty=tty)}
    return sandbox.attach(argv, env=env, tty=tty)


def _claim(data: Path, recorded: RecordedRun) -> claims.Claimed | None:
    """Of the run that has this very folder: what a recording says of its sandbox proves nothing."""
    folder = recorded.folder.resolve()
    return next((each for each in claims.claimed(data) if each.entry and each.entry.record() == folder), None)


def _living(claim: claims.Claimed, opened: OpenBackend, recorded: RecordedRun) -> str:
    """Returns the sandbox. Raises NotReadyError for one that is gone, or that only waits to be removed."""
    if opened.engine:  # a container and what runs in it do not need the run's process
        found = (item for item in opened.leftovers() if claim.name in item.claims and item.running)
        if container := next(found, None):
            return container.sandbox_id
        raise _gone(recorded)
    if claim.work not in own_folders(claim.work):
        raise _gone(recorded)
    with claims.if_dead(claim, look_only=True) as dead:
        if dead and not (claim.entry and claim.entry.kept):
            raise NotReadyError(
                f"The process of the run {recorded.trajectory_id} was killed.",
                hint="The next `runbook run`, or `runbook clean`, collects its results.",
            )
    return str(claim.work)


def _gone(recorded: RecordedRun) -> NotReadyError:
    how = f"has ended ({recorded.end.status})" if recorded.end else "is running, but its sandbox is gone"
    return NotReadyError(
        f"The run {recorded.trajectory_id} {how}.",
        hint=f"`runbook shell {recorded.trajectory_id}` opens a sandbox like its own; --keep leaves one after a run.",
    )
