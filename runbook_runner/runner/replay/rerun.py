"""Runner: from a recorded run to a live run of the same spec: nothing is answered from the recording."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from runbook_runner.agents.registry import find_agent
from runbook_runner.core.errors import InputError, NotReadyError, RunbookError, all_of
from runbook_runner.core.files import is_file
from runbook_runner.core.network.addresses import parse_rule
from runbook_runner.core.settings import Settings
from runbook_runner.core.spec import RunSpec
from runbook_runner.runbook.parts.frontmatter import Frontmatter
from runbook_runner.runbook.parts.steps import step_blocks
from runbook_runner.runner.checks.sources import GitSource, kept_sources, plan_sources
from runbook_runner.runner.environment.images import check_image
from runbook_runner.runner.judge.choose import choose_judge
from runbook_runner.runner.replay.prepare import (
    about_sandbox,
    bounded,
    of_document,
    pinned,
    within_defaults,
)
from runbook_runner.runner.replay.recorded_run import RecordedRun, read_recorded_run
from runbook_runner.runner.request.choices import choose
from runbook_runner.runner.request.inputs import with_kept_inputs
from runbook_runner.runner.request.limits import asked_limits, override
from runbook_runner.runner.request.prepare import prepare_spec
from runbook_runner.runner.request.prepared_run import PreparedRun
from runbook_runner.runner.request.request import Ask, RunRequest
from runbook_runner.runner.request.resolve import refuse_unused
from runbook_runner.runner.request.secrets import Granted, grant_recorded, provider_keys
from runbook_runner.runner.request.variables import user_variables
from runbook_runner.runner.trust import Trust, TrustStore
from runbook_runner.trajectory.folders import IMPORTED, MISSION_FILE

_COMPARED: Final = ("agent", "model", "provider", "snapshot", "image")


class Change(NamedTuple):
    """What a rerun does otherwise than the recorded run did."""

    what: str
    recorded: Any
    """`None`: it was not set."""
    now: Any

    def __str__(self) -> str:
        return f"{self.what}: recorded {_shown(self.recorded)}, now {_shown(self.now)}"


class Rerun(NamedTuple):
    prepared: PreparedRun
    recorded: RecordedRun
    changes: tuple[Change, ...]


def prepare_rerun(request: RunRequest, ask: Ask | None = None) -> Rerun:
    """request: its document is the recorded run: the folder of a trajectory, or a name of it; what else it says takes
    the place of what was recorded. ask: as for `prepare_replay`. Raises InputError and NotReadyError, which name all
    inputs and secrets that are missing."""
    asked, near = Settings.load(), request.near
    recorded = read_recorded_run(asked.require_home(), str(request.document), near)
    user = user_variables(request.options.env_file)
    spec = _changed(recorded, request, user.all())
    refuse_unused(request, find_agent(spec.agent, near))
    warnings = [*about_sandbox(recorded, request.options.sandbox)]
    judge = choose_judge(request, spec, asked.judge_model, None, provider_keys(user.all()), warnings.append)
    if judge is None and spec.judge:
        named = spec.judge.model
        warnings.append(f"It was judged by {named}, which is asked only when you name it: --judge-model {named}.")
    spec = spec.model_copy(update={"judge": judge})
    if not recorded.is_made_here:
        network = spec.network.policy
        warnings.append(f"This machine has not made this run: it gets the network {network}; --network sets another.")
    spec, granted = grant_recorded(spec, request.secrets, user)
    spec = _with_what_it_needs(spec, recorded, near, granted)
    options = replace(request.options, sandbox=request.options.sandbox or recorded.sandbox)
    prepared = prepare_spec(
        spec,
        options,
        user.all(),
        asked,
        granted,
        Trust(TrustStore(asked.data), options.trust, ask),
        script=request.model_script,
        judge_script=request.judge_script,
        answers_from=str(request.model_script or spec.provider),
        strict_snapshot=request.snapshot is not None,
        needs_image=bool(request.snapshot or request.image),
        warnings=tuple(warnings),
        sources=_sources(spec, recorded, request),
    )
    prepared = replace(prepared, rerun_of=recorded.trajectory_id)
    return Rerun(prepared, recorded, tuple(_changes(recorded, prepared)))


def _with_what_it_needs(spec: RunSpec, recorded: RecordedRun, near: tuple[Path, ...], granted: Granted) -> RunSpec:
    """The spec with its inputs. Raises one error that names every missing input and secret."""
    lacks: list[RunbookError] = []
    try:
        spec = with_kept_inputs(spec, recorded.folder, near)
    except InputError as error:
        lacks.append(error)
    try:
        granted.require(spec)
    except NotReadyError as error:
        lacks.append(error)
    if lacks:
        raise all_of(lacks)
    return spec


def _changed(recorded: RecordedRun, request: RunRequest, environ: dict[str, str]) -> RunSpec:
    spec = pinned(recorded) if not (request.snapshot or request.image) else recorded.spec
    if request.parameters:
        spec = of_document(recorded, _document(recorded), request.near, request.parameters)
    spec = _chosen(spec, request, environ)
    policy = request.network or ("allowlist" if request.allow_hosts else None)
    spec = bounded(within_defaults(spec, recorded), policy, request.near)
    if request.allow_hosts:
        if policy != "allowlist":
            raise InputError(f"--allow-host has no meaning with --network {policy}.", hint="Use --network allowlist.")
        for host in request.allow_hosts:
            parse_rule(host, "--allow-host")
        hosts = tuple(sorted({*spec.network.allow_hosts, *request.allow_hosts}))
        spec = spec.model_copy(update={"network": spec.network.model_copy(update={"allow_hosts": hosts})})
    return spec.model_copy(update={"limits": override(spec.limits, asked_limits(request))})


def _document(recorded: RecordedRun) -> Path:
    """The runbook without values, which only pulled runs have. Raises InputError for others."""
    document = recorded.folder / IMPORTED / MISSION_FILE
    if is_file(document):
        return document
    raise InputError(
        "This run was recorded with the values in its text: they can't be given anew.",
        where=str(recorded.folder),
        hint="Use `runbook run RUNBOOK.md -p NAME=VALUE`.",
    )


def _chosen(spec: RunSpec, request: RunRequest, environ: dict[str, str]) -> RunSpec:
    """With another agent, model or image, as `runbook run` would choose them if the recorded ones were the runbook's
    own."""
    given = (request.agent, request.model, request.provider, request.snapshot, request.image)
    if not any(given):
        return spec
    front = Frontmatter(
        agent=spec.agent,
        model=spec.model,
        model_provider=spec.provider,
        snapshot=spec.snapshot,
        image=spec.image,
        lines=dict.fromkeys(("agent", "model", "model_provider", "snapshot", "image"), 0),
    )
    chosen = choose(front, request, provider_keys(environ))
    agent = find_agent(str(chosen.agent.value), request.near)
    image = chosen.image.value
    update = {
        "agent": agent.name,
        "model": chosen.model.value,
        "provider": chosen.provider.value,
        "snapshot": chosen.snapshot.value,
        "image": image and check_image(image),
        "blocks": (spec.blocks or step_blocks(spec.mission)) if agent.facts.runs_blocks else (),
    }
    return spec.model_copy(update=update)


def _sources(spec: RunSpec, recorded: RecordedRun, request: RunRequest) -> tuple[GitSource, ...]:
    """The check sources as the recorded run has kept them; of a run that has kept none, where they are now."""
    kept = kept_sources(spec, recorded.folder)
    if len(kept) == len(spec.criteria.checks.sources):
        return kept
    return plan_sources(spec, request.allow_hosts, None, str(recorded.folder))


def _changes(recorded: RecordedRun, prepared: PreparedRun) -> Iterator[Change]:
    before, now = recorded.spec, prepared.spec
    pairs = {name: (getattr(before, name), getattr(now, name)) for name in _COMPARED}
    names = dict.fromkeys((*before.parameters, *now.parameters))
    pairs |= {f"parameter {name}": (before.parameters.get(name), now.parameters.get(name)) for name in names}
    pairs |= {f"network {name}": (getattr(before.network, name), value) for name, value in now.network}
    pairs |= {f"limit {name}": (getattr(before.limits, name), value) for name, value in now.limits}
    if recorded.backend and prepared.chosen:
        pairs["sandbox"] = (recorded.backend, prepared.chosen.name)
    yield from (Change(name, old, new) for name, (old, new) in pairs.items() if old != new)


def _shown(value: Any) -> str:
    text = "nothing" if value in (None, "", ()) else ", ".join(value) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
