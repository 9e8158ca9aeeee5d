"""Runner: a way into the sandbox of a run that is under way, or was run with --keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runbook_runner.agents.registry import find_agent
from runbook_runner.core import settings
from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.events import SandboxStarted
from runbook_runner.core.settings import Settings
from runbook_runner.runner.agent.launch import agent_environ
from runbook_runner.runner.attach.shell import of_terminal
from runbook_runner.runner.environment.backends import BubblewrapBackend, HostBackend
from runbook_runner.runner.recovery import claims
from runbook_runner.runner.replay.recorded_run import RecordedRun, read_recorded_run
from runbook_runner.runner.request import secrets as credentials
from runbook_runner.sandbox.attach import Joined
from runbook_runner.trajectory.store import read_events


@dataclass(frozen=True)
class Entrance:
    """What is to be started in a sandbox."""

    argv: Sequence[str]
    """Empty for a shell."""
    environ: Mapping[str, str]
    """The run's variables, as they are in a container."""
    secrets: Mapping[str, str]
    """The run's, and what tells of the terminal."""
    tty: bool


def join_live(asked: Settings, name: str, argv: Sequence[str], environ: Mapping[str, str], *, tty: bool) -> Joined:
    """A command in the sandbox of a run. Raises InputError when there is none to be in, NotReadyError, SandboxError."""
    parent = read_recorded_run(asked.home, name)
    started = next((item.event for item in read_events(parent.folder) if isinstance(item.event, SandboxStarted)), None)
    if started is None:
        raise InputError(f"The run {parent.trajectory_id} has no sandbox (yet).")
    own = {**credentials.agent_secrets(parent.spec, environ), **of_terminal(environ, tty=tty)}
    entrance = Entrance(argv, agent_environ(parent.spec, parent.trajectory_id), own, tty)
    if started.backend == "docker":
        return _join_container(parent, started.sandbox_id, entrance)
    return _join_folder(parent, started, entrance, asked)


def _join_container(parent: RecordedRun, container: str, entrance: Entrance) -> Joined:
    from runbook_runner.sandbox.docker.attach import ContainerJoined
    from runbook_runner.sandbox.docker.engine import connect

    engine = connect()
    if not engine.has_container(container):
        raise _gone(parent)
    env = {**entrance.environ, **entrance.secrets}
    return ContainerJoined(engine, container, entrance.argv, env=env, cwd=settings.APP, tty=entrance.tty)


def _join_folder(parent: RecordedRun, started: SandboxStarted, entrance: Entrance, asked: Settings) -> Joined:
    """A second sandbox around the same folder: it sees the run's files, not its processes."""
    from runbook_runner.sandbox.local.attach import LocalJoined

    folder = Path(started.sandbox_id)
    _check_open(parent, folder)
    backend = (BubblewrapBackend if started.backend == "bubblewrap" else HostBackend)(asked)
    agent = find_agent(parent.spec.agent, parent.spec.near)
    sandbox = backend.there(parent.spec, agent, parent.trajectory_id, folder)
    env = {name: sandbox.localise(value) for name, value in entrance.environ.items()} | dict(entrance.secrets)
    return LocalJoined(sandbox, entrance.argv, env=env, cwd=settings.APP, tty=entrance.tty)


def _check_open(parent: RecordedRun, folder: Path) -> None:
    """Raises NotReadyError for a folder that is gone, another's by now, or only waits to be removed."""
    from runbook_runner.sandbox.temp_folders import owned_folder

    owned = owned_folder(folder)
    if owned is None or owned.labels.get(claims.LABEL_RUN) != parent.trajectory_id:
        raise _gone(parent)
    lock = owned.labels.get(claims.LABEL_LOCK)
    if not lock or owned.labels.get(claims.LABEL_KEEP):
        return
    with claims.if_dead(Path(lock), look_only=True) as dead:
        if dead:
            raise NotReadyError(
                f"The process of the run {parent.trajectory_id} was killed.",
                hint="The next `runbook run`, or `runbook clean`, brings home what it has made.",
            )


def _gone(parent: RecordedRun) -> NotReadyError:
    how = "is under way, but its sandbox is gone" if parent.status == "running" else f"has ended ({parent.status})"
    return NotReadyError(
        f"The run {parent.trajectory_id} {how}.",
        hint=f"`runbook shell {parent.trajectory_id}` opens a sandbox like its own; --keep leaves one after a run.",
    )
