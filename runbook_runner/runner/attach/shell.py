"""Runner, attach: a fresh sandbox to look around in, with what the agent of a run would find, except its model."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runbook_runner.agents.built_in import WITHOUT_MODEL
from runbook_runner.agents.registry import find_agent
from runbook_runner.core import settings
from runbook_runner.core.errors import InputError
from runbook_runner.core.ids import new_trajectory_id
from runbook_runner.core.settings import Settings
from runbook_runner.core.spec import Limits, RunSpec
from runbook_runner.runner.agent.launch import agent_environ
from runbook_runner.runner.environment.backends import Report, choose_backend
from runbook_runner.runner.recovery.claims import Claim, Entry
from runbook_runner.runner.replay.recorded_run import read_recorded_run
from runbook_runner.runner.request.inputs import unpacked, with_kept_inputs
from runbook_runner.runner.request.secrets import agent_secrets
from runbook_runner.sandbox.backends import AUTO, BACKENDS
from runbook_runner.sandbox.base import Attached, PutFile, Sandbox
from runbook_runner.sandbox.images.snapshots import known_snapshots
from runbook_runner.sandbox.temp_folders import temp_folder
from runbook_runner.trajectory.store import UnknownTrajectoryError

LIFETIME_S = 12 * 3600.0
_TERMINAL = ("TERM", "COLORTERM", "LANG", "LC_ALL")


@dataclass(frozen=True)
class ShellRequest:
    """What to look at, and in which sandbox."""

    spec: RunSpec
    trajectory_id: str
    """Of the run, or an unused one."""
    backend: str


def shell_request(
    home: Path, name: str, *, agent: str | None, backend: str | None, near: Sequence[Path]
) -> ShellRequest:
    """name: a snapshot, or a trajectory's id or folder. agent: put on top of a snapshot; a trajectory has its own.
    backend: `None`: as the run had it, for a snapshot the first that uses images. Raises InputError."""
    known = known_snapshots(near)
    if name in known:
        usual = next(row.name for row in BACKENDS.values() if row.uses_images)
        return ShellRequest(_spec_of_snapshot(name, agent, near), new_trajectory_id(), backend or usual)
    if agent:
        raise InputError("--agent goes with a snapshot; a run has its own.", where=name)
    try:
        recorded = read_recorded_run(home, name)
    except UnknownTrajectoryError as error:
        hint = f"Known snapshots: {', '.join(known)}. {error.hint}"
        raise InputError(f"There is neither a snapshot nor a trajectory {name!r}.", hint=hint) from error
    spec = with_kept_inputs(recorded.spec, recorded.folder)
    return ShellRequest(spec, recorded.trajectory_id, backend or recorded.backend or AUTO)


def _spec_of_snapshot(name: str, agent: str | None, near: Sequence[Path]) -> RunSpec:
    return RunSpec(
        title=name,
        collection=settings.DEFAULT_COLLECTION,
        task="shell",
        agent=find_agent(agent or WITHOUT_MODEL, near).name,
        snapshot=name,
        mission="",
        near=tuple(map(str, near)),
    )


@contextmanager
def open_shell_sandbox(
    wanted: ShellRequest, asked: Settings, environ: Mapping[str, str], report: Report
) -> Iterator["ShellSandbox"]:
    """The sandbox exists in this block; one whose process was killed is removed by the next run. environ: the host's
    variables. Raises InputError, NotReadyError, SandboxError."""
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
            variables = agent_environ(spec, wanted.trajectory_id)
            localised = {name: sandbox.localise(value) for name, value in variables.items()}
            yield ShellSandbox(sandbox, {**localised, **agent_secrets(spec, environ)})


def _patient(limits: Limits) -> Limits:
    return limits.model_copy(update={"timeout_s": LIFETIME_S, "idle_s": LIFETIME_S})


@dataclass(frozen=True)
class ShellSandbox:
    """A started sandbox and the agent's variables."""

    sandbox: Sandbox
    environ: Mapping[str, str]

    def attach(self, argv: Sequence[str], terminal: Mapping[str, str], *, tty: bool) -> Attached:
        """terminal: the caller's variables; those that describe their terminal are passed on. Raises SandboxError."""
        env = {**self.environ, **terminal_variables(terminal, tty=tty)}
        return self.sandbox.attach(argv, env=env, tty=tty)


def terminal_variables(environ: Mapping[str, str], *, tty: bool) -> dict[str, str]:
    """Returns the variables that describe the caller's terminal; none when the command gets no terminal."""
    return {name: environ[name] for name in _TERMINAL if environ.get(name)} if tty else {}
