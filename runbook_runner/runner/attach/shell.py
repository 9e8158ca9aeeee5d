"""Runner: a sandbox to look around in, with all that the agent of a run would find there but its model."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runbook_runner.agents.built_in import WITHOUT_MODEL
from runbook_runner.agents.registry import find_agent
from runbook_runner.core import settings
from runbook_runner.core.ids import new_trajectory_id
from runbook_runner.core.settings import Settings
from runbook_runner.core.spec import Limits, RunSpec
from runbook_runner.runner.agent.launch import agent_environ
from runbook_runner.runner.environment.backends import Backend, DockerBackend, Report, choose_backend
from runbook_runner.runner.recovery.claims import Claim, Entry
from runbook_runner.runner.replay.recorded_run import read_recorded_run
from runbook_runner.runner.request import secrets as credentials
from runbook_runner.runner.request.inputs import unpacked, with_kept_inputs
from runbook_runner.sandbox.attach import Joined
from runbook_runner.sandbox.base import PutFile, Sandbox
from runbook_runner.sandbox.temp_folders import temp_folder

LIFETIME_S = 12 * 3600.0
_TERMINAL = ("TERM", "COLORTERM", "LANG", "LC_ALL")


@dataclass(frozen=True)
class Wanted:
    """What to look at, and where."""

    spec: RunSpec
    trajectory_id: str
    """Of the run, or one that no run has."""
    backend: str


def of_trajectory(home: Path, name: str, backend: str | None) -> Wanted:
    """Raises InputError when there is none, or its inputs are gone."""
    parent = read_recorded_run(home, name)
    return Wanted(
        with_kept_inputs(parent.spec, parent.folder), parent.trajectory_id, backend or parent.backend or "auto"
    )


def of_snapshot(name: str, agent: str | None, backend: str | None, near: Sequence[Path]) -> Wanted:
    """Raises InputError for an unknown one."""
    from runbook_runner.sandbox.images.snapshots import find_snapshot

    find_snapshot(name, near)
    chosen = find_agent(agent or WITHOUT_MODEL, near)
    spec = RunSpec(
        title=name,
        collection=settings.DEFAULT_COLLECTION,
        task="shell",
        agent=chosen.name,
        snapshot=name,
        mission="",
        near=tuple(map(str, near)),
    )
    return Wanted(spec, new_trajectory_id(), backend or "docker")


@contextmanager
def opened(wanted: Wanted, asked: Settings, environ: Mapping[str, str], report: Report) -> Iterator["Room"]:
    """Gone with the block; what a death leaves the next run removes. Raises InputError, NotReadyError, SandboxError."""
    spec = wanted.spec.model_copy(update={"limits": _patient(wanted.spec.limits)})
    agent = find_agent(spec.agent, spec.near)
    backend = choose_backend(wanted.backend, spec, agent, asked, strict_snapshot=True)
    own = new_trajectory_id()
    entry = Entry(own, str(asked.home / "shells" / own), backend.name, temp=str(temp_folder()))
    with Claim(asked.home, entry) as claim, unpacked(spec.inputs) as inputs:
        prepared = backend.prepare(spec, agent, own, claim.labels(), report, lambda _: None)
        with prepared.sandbox as sandbox:
            mission = sandbox.localise(spec.mission).encode()
            sandbox.put([*([PutFile(settings.MISSION_FILE, mission)] if mission else []), *inputs])
            given = agent_environ(spec, wanted.trajectory_id)
            secrets = credentials.agent_secrets(spec, environ)
            yield Room(sandbox, backend, {name: sandbox.localise(value) for name, value in given.items()} | secrets)


def _patient(limits: Limits) -> Limits:
    return limits.model_copy(update={"timeout_s": LIFETIME_S, "idle_s": LIFETIME_S})


@dataclass(frozen=True)
class Room:
    """A started sandbox and the agent's environment."""

    sandbox: Sandbox
    backend: Backend
    environ: Mapping[str, str]

    def join(self, argv: Sequence[str], terminal: Mapping[str, str], *, tty: bool) -> Joined:
        """terminal: the caller's variables; what tells of their terminal is passed on. Raises SandboxError."""
        env = {**self.environ, **of_terminal(terminal, tty=tty)}
        if isinstance(self.backend, DockerBackend):
            from runbook_runner.sandbox.docker.attach import ContainerJoined

            return ContainerJoined(
                self.backend.engine, self.sandbox.sandbox_id, argv, env=env, cwd=settings.APP, tty=tty
            )
        from runbook_runner.sandbox.local.attach import LocalJoined
        from runbook_runner.sandbox.local.folder_sandbox import FolderSandbox

        assert isinstance(self.sandbox, FolderSandbox)
        return LocalJoined(self.sandbox, argv, env=env, cwd=settings.APP, tty=tty)


def of_terminal(environ: Mapping[str, str], *, tty: bool) -> dict[str, str]:
    """What tells of the caller's terminal, if the command gets one."""
    return {name: environ[name] for name in _TERMINAL if environ.get(name)} if tty else {}
