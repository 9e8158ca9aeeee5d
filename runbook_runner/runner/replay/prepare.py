"""Runner: from a recorded run to a run that repeats it, ready to start."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, get_args

from runbook_runner.agents.registry import find_agent
from runbook_runner.core.errors import InputError
from runbook_runner.core.files import is_file, is_folder
from runbook_runner.core.redaction import mark
from runbook_runner.core.settings import RUNBOOK_FILE, Settings
from runbook_runner.core.spec import Policy, RunSpec
from runbook_runner.runbook.authoring.fmt import says_the_same
from runbook_runner.runbook.criteria.note import checks_note
from runbook_runner.runbook.document import parse
from runbook_runner.runbook.sources.load import load
from runbook_runner.runner.checks.sources import kept_sources
from runbook_runner.runner.environment.images import check_image
from runbook_runner.runner.recovery.claims import is_alive
from runbook_runner.runner.replay.cassette import CassetteReplay, Then, check_on_miss
from runbook_runner.runner.replay.recorded_run import RecordedRun, read_recorded_run
from runbook_runner.runner.request.inputs import with_kept_inputs
from runbook_runner.runner.request.limits import limits_of_stranger, lowered_by
from runbook_runner.runner.request.prepare import prepare_spec
from runbook_runner.runner.request.prepared_run import PreparedRun
from runbook_runner.runner.request.project_bounds import limits_within_bounds, within_bounds
from runbook_runner.runner.request.request import Ask, RunOptions, RunRequest
from runbook_runner.runner.request.resolve import resolve, unknown_policy
from runbook_runner.runner.request.secrets import Granted, grant_recorded
from runbook_runner.runner.request.variables import user_variables
from runbook_runner.runner.trust import Trust, TrustStore
from runbook_runner.sandbox.backends import BACKENDS
from runbook_runner.trajectory.folders import CHECKS, EVENTS_FILE, INPUTS
from runbook_runner.trajectory.index.names import path_of

RECORDING: Final = "recording"
"""Folder beside a RUNBOOK.md with a copy of a trajectory, for hooks and CI."""


@dataclass(frozen=True)
class ReplayRequest:
    name: str
    """A trajectory's id or folder, or what `document_of` knows, with a copy of that folder beside it."""
    near: tuple[Path, ...]
    """Folders from which upwards agents, snapshots and project settings are looked for: where the user stands."""
    is_trajectory: bool = False
    """The name is a trajectory's, whatever else lies in its folder, which may be a stranger's."""
    lacks: tuple[str, ...] = ()
    """Of `manifest.WITHOUT` those that the bundle was made without."""
    network: str | None = None
    """Another network policy than the recorded one."""
    secrets: tuple[str, ...] = ()
    """Names of variables that the user grants to the agent."""
    until: int | None = None
    """A fork: the number of calls that are answered from the cassette."""
    then: Then | None = None
    """Who answers after them."""
    script: Path | None = None
    """The model script of `then="script"`."""
    options: RunOptions = field(default_factory=RunOptions)


def document_of(name: str) -> Path | None:
    """The RUNBOOK.md that is named by itself or by its folder; `None` for a trajectory, which has a RUNBOOK.md too."""
    path = path_of(name)
    if path is None or path.name == RUNBOOK_FILE:
        return path
    is_document = is_folder(path / RECORDING) or not is_file(path / EVENTS_FILE)
    return path / RUNBOOK_FILE if is_file(path / RUNBOOK_FILE) and is_document else None


def prepare_replay(request: ReplayRequest, ask: Ask | None = None) -> PreparedRun | None:
    """ask: may be asked whether the user trusts what the run would build. Returns `None` when the document has no
    recording beside it. Raises InputError and NotReadyError, as `prepare`."""
    asked = Settings.load()
    document = None if request.is_trajectory else document_of(request.name)
    if document and not is_folder(document.parent / RECORDING):
        return None
    near = (*([document.parent] if document else ()), *request.near)
    name = str((document.parent / RECORDING).absolute()) if document else request.name
    recorded = read_recorded_run(asked.require_home(), name, near)
    if recorded.end is None and is_alive(asked.data, recorded.folder):
        hint = f"`runbook runs logs -f {recorded.trajectory_id}` follows it; `runbook rerun` does not need its end."
        raise InputError(f"Run {recorded.trajectory_id} goes on: it can be replayed once it has ended.", hint=hint)
    if request.until is not None:
        recorded.require_model_calls()
    replay = CassetteReplay(
        recorded.cassette,
        check_on_miss(request.options.on_miss),
        request.until,
        request.then,
        recorded,
        is_compared=True,
    )
    spec = of_document(recorded, document, near) if document else pinned(recorded)
    spec = with_kept_inputs(spec, recorded.folder, near, left_out=INPUTS in request.lacks)
    is_guarded = request.options.offline or not (
        document or recorded.is_made_here or _isolates_nothing(request.options.sandbox)
    )
    policy = request.network or (_offline_policy(spec, near) if is_guarded else None)
    spec = bounded(within_defaults(spec, recorded), policy, near)
    installs = not request.options.offline or request.network not in (None, "none", "model-only")
    user = user_variables(request.options.env_file)
    spec, granted = grant_recorded(spec, request.secrets, user)
    # A replay needs no secrets: the cassette has their marks, and so has the sandbox.
    had = (s.env for s in spec.secrets if s.required or s.env in recorded.secrets)
    stand_ins = {name: mark(name) for name in had}
    return prepare_spec(
        spec,
        replace(request.options, sandbox=request.options.sandbox or recorded.sandbox, installs=installs),
        user.all(),
        asked,
        Granted({**stand_ins, **granted.values}),
        Trust(TrustStore(asked.data), request.options.trust, ask),
        warnings=(
            *about_sandbox(recorded, request.options.sandbox),
            *about_limits(recorded),
            *(_about_network(recorded, spec, request) if is_guarded else ()),
            *_about_sources(spec, request),
        ),
        script=request.script,
        replay=replay,
        answers_from=str(recorded.cassette),
        sources=kept_sources(spec, recorded.folder),
    )


def about_sandbox(recorded: RecordedRun, asked: str | None) -> tuple[str, ...]:
    """The warning that another one is used than the recorded one."""
    if asked or recorded.sandbox or not recorded.backend:
        return ()
    return (
        f"It was recorded in the sandbox {recorded.backend}, which isolates nothing and is used only when you type "
        f"--sandbox {recorded.backend}.",
    )


def within_defaults(spec: RunSpec, recorded: RecordedRun) -> RunSpec:
    """The spec of a recorded run. One that this machine has not made takes no more of it than any runbook."""
    if recorded.is_made_here:
        return spec
    return spec.model_copy(update={"limits": limits_of_stranger(spec.limits)})


def about_limits(recorded: RecordedRun, typed: Iterable[str] = ()) -> tuple[str, ...]:
    """The warning that limits of a recorded run are lowered. typed: those that its user has set, which hold."""
    if recorded.is_made_here:
        return ()
    told = lowered_by(recorded.spec.limits, limits_of_stranger(recorded.spec.limits), typed)
    if not told:
        return ()
    return (f"This machine has not made this recording, whose limits were lowered to the defaults: {', '.join(told)}.",)


def _isolates_nothing(sandbox: str | None) -> bool:
    """sandbox: as it was typed."""
    row = BACKENDS.get(sandbox or "")
    return bool(row and not row.isolates)


def _offline_policy(spec: RunSpec, near: Iterable[Path]) -> Policy:
    """The policy for a run that reaches nothing but the recording, such as one that this machine has not made."""
    bounds = within_bounds(spec.network, near).policy
    if bounds in ("none", "model-only"):
        return bounds
    return "model-only" if find_agent(spec.agent, spec.near).dialect else "none"


def _about_network(recorded: RecordedRun, spec: RunSpec, request: ReplayRequest) -> tuple[str, ...]:
    then, now = recorded.spec.network.policy, spec.network.policy
    if request.network or then == now:
        return ()
    what = "A bundle" if request.options.offline else "A run that this machine has not made"
    return (f"{what} is replayed with the network {now}; the run had {then}, which --network {then} gives it.",)


def _about_sources(spec: RunSpec, request: ReplayRequest) -> tuple[str, ...]:
    if CHECKS not in request.lacks:
        return ()
    names = ", ".join(source.name for source in spec.criteria.checks.sources)
    return (f"This bundle was made without check sources: the checks that need {names} can't be run.",)


def of_document(
    run: RecordedRun, document: Path, near: tuple[Path, ...], values: Mapping[str, Any] | None = None
) -> RunSpec:
    """What the document asks for now, with everything that the recorded run was given. values: of parameters, in the
    place of recorded ones. Raises InputError."""
    source, recorded = load(str(document)), run.spec
    request = RunRequest(
        source,
        parameters={**recorded.parameters, **(values or {})},
        agent=recorded.agent,
        model=recorded.model,
        provider=recorded.provider,
        snapshot=recorded.snapshot,
        image=recorded.image,
        collection=recorded.collection,
        task=recorded.task,
        near=near,
    )
    now = resolve(parse(source.text, source.name), request, folder=source.folder)
    kept = {name: getattr(recorded, name) for name in ("note", "inputs", "limits", "labels", "judge")}
    without_note = now.mission.removesuffix(checks_note(now.criteria))  # older recordings have none
    if any(says_the_same(mission, recorded.mission) for mission in (now.mission, without_note)):
        kept["mission"] = recorded.mission  # what `runbook fmt` changes is no other question to the model
    return now.model_copy(update=kept)


def pinned(recorded: RecordedRun) -> RunSpec:
    """The recorded spec with the very image that the run had: its tag may name another one by now."""
    if recorded.image_pinned is None:
        return recorded.spec
    return recorded.spec.model_copy(update={"image": check_image(recorded.image_pinned)})


def bounded(spec: RunSpec, policy: str | None, near: Iterable[Path]) -> RunSpec:
    """The spec within the bounds of the projects near, but under the network policy that was asked for; `None`: under
    its own. Raises InputError for an unknown one."""
    network = within_bounds(spec.network, near)
    if policy is not None:
        if policy not in get_args(Policy):
            raise unknown_policy(policy)
        network = spec.network.model_copy(update={"policy": policy})
    return spec.model_copy(update={"network": network, "limits": limits_within_bounds(spec.limits, near)})
