"""Runner: from a recorded run to a run that repeats it, ready to start."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, get_args

from runbook_runner.core.errors import InputError
from runbook_runner.core.files import is_folder
from runbook_runner.core.redaction import mark
from runbook_runner.core.settings import Settings
from runbook_runner.core.spec import Policy, RunSpec
from runbook_runner.runbook.document import parse
from runbook_runner.runbook.sources.load import load
from runbook_runner.runner.replay.cassette import CassetteReplay, Then, check_on_miss
from runbook_runner.runner.replay.recorded_run import RecordedRun, read_recorded_run
from runbook_runner.runner.request.inputs import with_kept_inputs
from runbook_runner.runner.request.prepare import PreparedRun, prepare_spec
from runbook_runner.runner.request.request import RunOptions, RunRequest
from runbook_runner.runner.request.resolve import resolve
from runbook_runner.runner.request.secrets import load_environment, missing_secrets

DOCUMENT: Final = "RUNBOOK.md"
RECORDING: Final = "recording"
"""Folder beside a RUNBOOK.md with a copy of a trajectory, for hooks and CI."""


@dataclass(frozen=True)
class ReplayRequest:
    name: str
    """A trajectory's id or folder, or a RUNBOOK.md with a copy of that folder beside it."""
    network: str | None = None
    """Another network policy than the recorded one."""
    until: int | None = None
    """A fork: the number of calls that are answered from the cassette."""
    then: Then | None = None
    """Who answers after them."""
    script: Path | None = None
    """The model script of `then="script"`."""
    options: RunOptions = field(default_factory=RunOptions)


def prepare_replay(request: ReplayRequest) -> PreparedRun | None:
    """`None`: the document has no recording beside it. Raises InputError and NotReadyError, as `prepare`."""
    asked = Settings.load()
    document = Path(request.name) if Path(request.name).name == DOCUMENT else None
    if document and not is_folder(document.parent / RECORDING):
        return None
    recorded = read_recorded_run(asked.require_home(), str(document.parent / RECORDING) if document else request.name)
    replay = CassetteReplay(
        recorded.cassette, check_on_miss(request.options.on_miss), request.until, request.then, recorded
    )
    spec = with_kept_inputs(_of_document(recorded.spec, document) if document else _pinned(recorded), recorded.folder)
    if request.network:
        spec = with_policy(spec, request.network)
    environ = load_environment(request.options.env_file, None)
    # A replay needs no secrets: the cassette has their marks, and so has the sandbox.
    stand_ins = {secret.env: mark(secret.env) for secret in missing_secrets(spec, environ)}
    options = replace(request.options, sandbox=request.options.sandbox or recorded.backend)
    return prepare_spec(
        spec,
        options,
        {**environ, **stand_ins},
        asked,
        script=request.script,
        replay=replay,
        answers_from=str(recorded.cassette),
    )


def _of_document(recorded: RunSpec, document: Path) -> RunSpec:
    """What the document asks for now, with everything that the recorded run was given. Raises InputError."""
    source = load(str(document))
    request = RunRequest(
        source,
        parameters=recorded.parameters,
        agent=recorded.agent,
        model=recorded.model,
        provider=recorded.provider,
        snapshot=recorded.snapshot,
        image=recorded.image,
        collection=recorded.collection,
        task=recorded.task,
        near=tuple(map(Path, recorded.near)),
    )
    now = resolve(parse(source.text, source.name), request, folder=source.folder)
    return now.model_copy(update={"inputs": recorded.inputs, "limits": recorded.limits, "labels": recorded.labels})


def _pinned(recorded: RecordedRun) -> RunSpec:
    """The recorded spec with the very image that the run had: its tag may name another one by now."""
    if recorded.image_pinned is None:
        return recorded.spec
    return recorded.spec.model_copy(update={"image": recorded.image_pinned})


def with_policy(spec: RunSpec, policy: str) -> RunSpec:
    """The spec under another network policy. Raises InputError for an unknown one."""
    for known in get_args(Policy):
        if policy == known:
            return spec.model_copy(update={"network": spec.network.model_copy(update={"policy": known})})
    raise InputError(f"Unknown network policy {policy!r}.", hint=f"Known: {', '.join(get_args(Policy))}.")
