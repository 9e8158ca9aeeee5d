"""Runner, attach: a fresh sandbox to look around in, with what the agent of a run would find, except its model."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from runbook_runner.agents.built_in import WITHOUT_MODEL
from runbook_runner.agents.registry import find_agent
from runbook_runner.core import settings
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import Report
from runbook_runner.core.ids import new_trajectory_id
from runbook_runner.core.settings import Settings
from runbook_runner.core.spec import RunSpec
from runbook_runner.runner.agent.launch import agent_environ
from runbook_runner.runner.recovery.claims import Claim, Entry
from runbook_runner.runner.replay.cassette import changed_image
from runbook_runner.runner.replay.prepare import about_limits, bounded, within_defaults
from runbook_runner.runner.replay.recorded_run import RecordedRun, read_recorded_run
from runbook_runner.runner.request.inputs import unpacked, with_kept_inputs
from runbook_runner.runner.request.prepare import prepare_spec
from runbook_runner.runner.request.prepared_run import PreparedRun
from runbook_runner.runner.request.request import Ask, RunOptions
from runbook_runner.runner.request.secrets import agent_secrets, grant_recorded
from runbook_runner.runner.request.variables import user_variables
from runbook_runner.runner.trust import Trust, TrustStore
from runbook_runner.sandbox.backends import BACKENDS
from runbook_runner.sandbox.base import Attached, PutFile, Sandbox
from runbook_runner.sandbox.images.snapshots import known_snapshots
from runbook_runner.trajectory.folders import UnknownTrajectoryError

LIFETIME_S = 12 * 3600.0
_TERMINAL = ("TERM", "COLORTERM", "LANG", "LC_ALL")


@dataclass(frozen=True)
class ShellRequest:
    name: str
    """A snapshot, or a trajectory's id or folder."""
    near: tuple[Path, ...]
    """Folders from which upwards agents and snapshots are looked for."""
    agent: str | None = None
    """Put on top of a snapshot; a trajectory has its own."""
    network: str | None = None
    """Another network policy than the run's."""
    secrets: tuple[str, ...] = ()
    """Names of variables that the user grants to it."""
    options: RunOptions = field(default_factory=RunOptions)


@dataclass(frozen=True)
class PreparedShell:
    run: PreparedRun
    """The sandbox that a run of this spec would get."""
    trajectory_id: str
    """Of the recorded run, or an unused one."""
    recorded: RecordedRun | None = None
    """`None` for a snapshot."""


def prepare_shell(request: ShellRequest, ask: Ask | None = None) -> PreparedShell:
    """Without a sandbox in the request: that of the recorded run, for a snapshot the first that uses images. ask: as
    `prepare_replay`. Raises InputError and NotReadyError."""
    asked = Settings.load()
    spec, recorded = _asked_for(request, asked.require_home())
    spec = bounded(within_defaults(spec, recorded) if recorded else spec, request.network, request.near)
    limits = spec.limits.model_copy(update={"timeout_s": LIFETIME_S, "idle_s": LIFETIME_S})
    spec = spec.model_copy(update={"limits": limits})
    user = user_variables(request.options.env_file)
    spec, granted = grant_recorded(spec, request.secrets, user)
    options = replace(request.options, sandbox=request.options.sandbox or (recorded.sandbox if recorded else _usual()))
    trust, told = Trust(TrustStore(asked.data), options.trust, ask), about_limits(recorded) if recorded else ()
    run = prepare_spec(
        spec, options, user.all(), asked, granted, trust, strict_snapshot=True, starts_agent=False, warnings=told
    )
    return PreparedShell(run, recorded.trajectory_id if recorded else new_trajectory_id(), recorded)


def _usual() -> str:
    return next(row.name for row in BACKENDS.values() if row.uses_images)


def _asked_for(request: ShellRequest, home: Path) -> tuple[RunSpec, RecordedRun | None]:
    """Returns the spec, and the recorded run that it is of."""
    known = known_snapshots(request.near)
    if request.name in known:
        return _spec_of_snapshot(request.name, request.agent, request.near), None
    if request.agent:
        raise InputError("--agent goes with a snapshot; a run has its own.", where=request.name)
    try:
        recorded = read_recorded_run(home, request.name, request.near)
    except UnknownTrajectoryError as error:
        hint = f"Known snapshots: {', '.join(known)}. {error.hint}"
        raise InputError(f"There is neither a snapshot nor a trajectory {request.name!r}.", hint=hint) from error
    return with_kept_inputs(recorded.spec, recorded.folder, request.near), recorded


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
def open_shell_sandbox(prepared: PreparedShell, report: Report) -> Iterator["ShellSandbox"]:
    """The sandbox exists in this block; one whose process was killed is removed by the next run. Raises InputError,
    NotReadyError, SandboxError."""
    run = prepared.run
    spec, backend = run.spec, run.backend
    entry = Entry(backend.name, engine=backend.engine_url)
    with Claim(run.settings.data, new_trajectory_id(), entry) as claim, unpacked(spec.inputs) as inputs:
        ready = None
        for warning in run.warnings:
            report(warning)
        try:
            ready = backend.prepare(spec, run.agent, claim, report, lambda _: None, run.trust.require_snapshot)
            sandbox, recorded = ready.sandbox, prepared.recorded
            sandbox.start()
            if recorded and (change := changed_image(recorded, ready.image, ready.image_digest)):
                report(f"Not as recorded: {change}.")
            mission = sandbox.localise(spec.told).encode()
            sandbox.put([*([PutFile(settings.MISSION_FILE, mission)] if mission else []), *inputs])
            variables = agent_environ(spec, prepared.trajectory_id)
            localised = {name: sandbox.localise(value) for name, value in variables.items()}
            yield ShellSandbox(sandbox, {**localised, **agent_secrets(spec, run.secrets.values)})
        finally:
            if ready:
                ready.sandbox.stop()
            claim.settle()  # not when it could not be stopped


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
