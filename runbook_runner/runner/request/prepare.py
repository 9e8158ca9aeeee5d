"""Runner: from a request to a run that is ready to start: everything is chosen and checked, nothing is started."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_runner.agents.base import Agent, AgentInput
from runbook_runner.agents.registry import find_agent
from runbook_runner.core import settings
from runbook_runner.core.disk.repository import came_with
from runbook_runner.core.errors import InputError, NotReadyError, RunbookError, raised
from runbook_runner.core.files import is_opened_by_shell
from runbook_runner.core.settings import Settings, record_mode
from runbook_runner.core.spec import InputFile, RunSpec
from runbook_runner.runbook.check.engine import slips
from runbook_runner.runbook.document import parse
from runbook_runner.runbook.mission import doubts
from runbook_runner.runbook.sources.fixture import load_fixture
from runbook_runner.runbook.sources.load import load
from runbook_runner.runner.environment.backends import ChosenBackend, choose_backend
from runbook_runner.runner.judge.choose import choose_judge, judge_upstream
from runbook_runner.runner.request.inputs import option_file, require_room
from runbook_runner.runner.request.places import closed_places
from runbook_runner.runner.request.prepared_run import PreparedRun
from runbook_runner.runner.request.project_bounds import bounds_near
from runbook_runner.runner.request.request import Ask, Question, RunOptions, RunRequest
from runbook_runner.runner.request.resolve import resolve
from runbook_runner.runner.request.secrets import (
    Granted,
    agent_secrets,
    grant,
    provider_keys,
    redactor_for,
    require_short,
)
from runbook_runner.runner.request.valid_spec import require_valid_spec
from runbook_runner.runner.request.values import answer, with_values
from runbook_runner.runner.request.variables import misspelt, user_variables, variables_beside
from runbook_runner.runner.trust import Trust, TrustStore
from runbook_runner.sandbox.images.snapshots import UnknownSnapshotError, find_snapshot

if TYPE_CHECKING:
    from runbook_runner.gateway import Upstream
    from runbook_runner.runner.checks.sources import GitSource
    from runbook_runner.runner.replay.cassette import CassetteReplay


def prepare(request: RunRequest, ask: Ask | None = None) -> PreparedRun:
    """ask: gets each missing parameter and secret; `None`: a missing one is an error.

    Raises InputError for a document, value or option that is wrong, NotReadyError when this machine lacks what the run
    needs. A dry run is prepared in spite of what is missing.
    """
    warnings: list[str] = []
    try:
        return _prepare(request, ask, warnings)
    except RunbookError as error:
        error.warnings = warnings
        raise


def _prepare(request: RunRequest, ask: Ask | None, warnings: list[str]) -> PreparedRun:
    """warnings: gets what the user should know."""
    asked = Settings.load()
    source = load(request.document) if isinstance(request.document, str) else request.document
    runbook = parse(source.text, source.name)
    if problem := runbook.criteria.problem:
        raise InputError(problem)  # the checks could only be errors, once the agent has worked
    warnings += [*doubts(runbook), *slips(runbook)]
    user = user_variables(request.options.env_file)
    environ = user.all()
    if source.folder:
        request = replace(request, near=(source.folder, *request.near))
    replay = _replay(request, asked.require_home())
    request = with_values(request, runbook, ask, warnings)
    keys = provider_keys(environ) if request.asks_provider else ()
    lacks = list[RunbookError]()
    lacking = lacks.append if request.options.dry_run else raised
    spec = resolve(runbook, request, keys, source.folder, warnings.append, lacking)
    recorded = replay.recorded.spec.judge if replay and replay.recorded and replay.has_judge else None
    judge = choose_judge(request, spec, asked.judge_model, recorded, provider_keys(environ), warnings.append)
    spec = spec.model_copy(update={"judge": judge})
    sources: tuple[GitSource, ...] = ()
    if spec.criteria.checks.sources:
        from runbook_runner.runner.checks.sources import plan_sources  # which most runs do without

        sources = plan_sources(spec, request.allow_hosts, source.folder, source.name)
    if request.options.dry_run and any(one.folder for one in sources):
        from runbook_runner.runner.checks.git import missing_locally  # a run looks for them when it has begun

        lacks += missing_locally(sources)
    trust = Trust(TrustStore(asked.data), request.options.trust, ask)
    declared = [secret.env for secret in spec.secrets]
    beside = variables_beside(source.folder, declared, warnings.append, environ)
    if request.options.env_file:
        lacking_values = [name for name in declared if not environ.get(name) and not beside.get(name)]
        warnings += misspelt(request.options.env_file, user.env_file, declared, lacking_values)

    def consent(names: Sequence[str]) -> bool:
        if request.replay or request.from_recording:
            return False  # a recording decides nothing, and what the agent does is in it
        agent, files = find_agent(spec.agent, spec.near), _came_along(request, spec, source.folder, sources)
        return trust.agreed_variables(source.name, source.text, files, beside, agent, names)

    granted = grant(spec, request.secrets, user, beside, consent)
    if source.folder:
        granted = replace(granted, beside=source.folder / ".env")
    if ask:
        missing = granted.askable(spec, request.secrets)
        answers = {s.env: answer(ask, Question(s.env, s.description or "secret", True)) for s in missing}
        granted = replace(granted, values={**granted.values, **answers})
    warnings += granted.warnings(spec)
    return prepare_spec(
        spec,
        request.options,
        environ,
        asked,
        granted,
        trust,
        script=request.model_script,
        judge_script=request.judge_script,
        replay=replay,
        answers_from=str(request.model_script or request.replay or spec.provider),
        strict_snapshot=request.snapshot is not None,
        needs_image=bool(request.snapshot or request.image),
        doubts=tuple(warnings),
        sources=sources,
        lacks=lacks,
    )


def _came_along(
    request: RunRequest, spec: RunSpec, folder: Path | None, sources: "Sequence[GitSource]"
) -> tuple[InputFile, ...]:
    """The files of the run that may have come with the runbook. Those of the user's own are elsewhere. Raises
    InputError."""
    options = {
        "--params": request.parameter_file,
        "--model-script": request.model_script,
        "--judge-script": request.judge_script,
    }
    files = [option_file(option, path) for option, path in options.items() if path and not is_opened_by_shell(path)]
    if request.fixture:
        files.append(option_file("--input", load_fixture(request.fixture).source))
    if sources:
        from runbook_runner.runner.checks.local import came_along

        files += came_along(sources)
    top = came_with(folder or Path.cwd())
    return tuple(item for item in (*spec.inputs, *files) if Path(os.path.realpath(item.source)).is_relative_to(top))


def prepare_spec(
    spec: RunSpec,
    options: RunOptions,
    environ: Mapping[str, str],
    asked: Settings,
    granted: Granted,
    trust: Trust,
    *,
    script: Path | None = None,
    judge_script: Path | None = None,
    replay: "CassetteReplay | None" = None,
    answers_from: str | None = None,
    strict_snapshot: bool = False,
    needs_image: bool = False,
    doubts: tuple[str, ...] = (),
    warnings: tuple[str, ...] = (),
    sources: "tuple[GitSource, ...]" = (),
    lacks: Sequence[RunbookError] = (),
    starts_agent: bool = True,
) -> PreparedRun:
    """The run of a spec that is known already, from a document or a recording. script: answers model calls, with a
    replay those after the recording. judge_script: answers the judge's. strict_snapshot: an unknown snapshot is an
    error; so it is within bounds of the project that say so. needs_image: the user has named a snapshot or the image,
    so a sandbox without images is refused. starts_agent: False for a sandbox that only a person uses, without a model
    and with the secrets that are there. Raises as `prepare`."""
    require_valid_spec(spec)
    agent = find_agent(spec.agent, spec.near)
    require_short(agent_secrets(spec, granted.values))
    require_room(spec)
    replay = replay and replay.of(spec, redactor_for(spec, environ, granted.values).structured)
    upstream, judge, backend, lacks = None, None, None, list(lacks)
    lacking = lacks.append if options.dry_run else raised
    strict = strict_snapshot or any(bounds.strict_snapshots for bounds in bounds_near(spec.near))
    with _keeping(lacking):
        if starts_agent:
            granted.require(spec)
    with _keeping(lacking):
        if starts_agent:
            upstream = _upstream(agent, spec, environ, script, replay)
    with _keeping(lacking):
        if starts_agent:
            judge = judge_upstream(spec, environ, judge_script, replay)
    with _keeping(lacking):
        backend = choose_backend(
            options.sandbox or "auto",
            spec,
            agent,
            asked,
            strict_snapshot=strict,
            needs_image=needs_image,
            image_trusted=needs_image or trust.whole_command,
        )
    with _keeping(lacking):
        if backend and replay and replay.recorded and options.offline:
            backend.require_image(spec, agent, replay.recorded.image_told)
        if backend and replay and replay.recorded and not options.installs:
            backend.require_program(agent, replay.recorded.agent_version)
    with _keeping(lacking):
        _require_trust(trust, spec, agent, backend)
    for closed in closed_places(spec, asked, options.out) if starts_agent else ():
        lacking(closed)
    kept = record_mode(options.record_mode, "--record-mode") if options.record_mode else asked.record_mode
    return PreparedRun(
        spec,
        agent,
        backend,
        upstream,
        answers_from,
        replay,
        judge,
        asked,
        environ,
        granted,
        replace(trust, ask=None),
        kept,
        options,
        doubts=(*doubts, *(backend.doubts if backend else ())),
        warnings=(*warnings, *(backend.warnings if backend else ())),
        sources=sources,
        lacks=tuple(lacks),
    )


@contextmanager
def _keeping(lacking: Callable[[RunbookError], None]) -> Iterator[None]:
    """lacking: gets what this machine lacks."""
    try:
        yield
    except NotReadyError as error:
        lacking(error)


def _require_trust(trust: Trust, spec: RunSpec, agent: Agent, chosen: ChosenBackend | None) -> None:
    """Raises NotReadyError for what of a project would run on this machine or be built, and is not trusted."""
    if chosen is None:
        return
    uses_images = chosen.backend.uses_images
    if not chosen.backend.isolates or (uses_images and agent.install.layer):
        trust.require_agent(agent)
    if uses_images and spec.snapshot:
        with suppress(UnknownSnapshotError):  # the default is used instead
            trust.require_snapshots(find_snapshot(spec.snapshot, spec.near), spec.near)


def _upstream(
    agent: Agent, spec: RunSpec, environ: Mapping[str, str], script: Path | None, replay: "CassetteReplay | None"
) -> "Upstream | None":
    """Who answers the agent's model calls; `None` when it makes none. What the agent or its provider would refuse is
    refused here, before anything starts."""
    agent.invoke(AgentInput(spec.told, settings.APP, spec.blocks, spec.model, mcp_servers=spec.mcp_servers))
    if agent.dialect is None and script is None:
        return None
    from runbook_runner.runner.model_access import find_upstream  # only runs that call a model import the gateway

    return find_upstream(agent, spec, script, environ, replay)


def _replay(request: RunRequest, home: Path) -> "CassetteReplay | None":
    if request.replay is None:
        if request.options.on_miss != RunOptions().on_miss:
            raise InputError(f"--on-miss {request.options.on_miss} has no meaning without --replay.")
        return None
    if request.model_script:
        raise InputError("--replay and --model-script answer the same calls.", hint="Give one of them.")
    from runbook_runner.runner.replay.cassette import find_cassette  # imports the gateway

    return find_cassette(home, request.replay, request.near, on_miss=request.options.on_miss)
