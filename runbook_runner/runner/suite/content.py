"""Runner, suite: what decides how the runs of a group end. An evaluation takes over the results of an earlier one only
where all of it is the same."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from runbook_runner import __version__
from runbook_runner.agents.base import Agent
from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.disk.walk import files_below
from runbook_runner.core.errors import InputError
from runbook_runner.runner.checks.local import came_along
from runbook_runner.runner.recovery.seal import slow_digest
from runbook_runner.runner.request.prepared_run import PreparedRun
from runbook_runner.runner.request.request import RunRequest
from runbook_runner.runner.request.variables import user_variables
from runbook_runner.runner.suite.plan import Group, Plan
from runbook_runner.sandbox.images.snapshots import UnknownSnapshotError, files_digest, find_snapshot, with_bases

LABEL: Final = "eval"
"""Of each run of an evaluation: its cell."""
_OF_ALL_RUNS: Final = {
    "repeats", "concurrency", "pass_rate", "until", "margin", "max_cost_usd", "max_tokens", "max_calls",
}  # fmt: skip
"""What of a suite says nothing of how one run ends."""


class Content(NamedTuple):
    """Of the runs of one group."""

    digest: str
    """Of all but `secrets`; SHA-256 in hex."""
    secrets: Mapping[str, str]
    """In memory only: name → value of what the runs get, and of what is in `--env-file`."""


def content_of(group: Group, prepared: PreparedRun, base: RunRequest) -> Content:
    """base: what the runs of all groups have in common. Raises InputError for a file that can't be read."""
    try:
        parts = json.dumps(list(_parts(group, prepared, base)), sort_keys=True)
    except OSError as error:
        raise InputError(f"It can't be read: {error.strerror}.", where=str(error.filename)) from error
    typed = user_variables(base.options.env_file).env_file if base.options.env_file else {}
    secrets = {**{f"--env-file {name}": value for name, value in typed.items()}, **prepared.secrets.values}
    return Content(hashlib.sha256(parts.encode()).hexdigest(), secrets)


def plan_digest(plan: Plan, home: Path, contents: Sequence[Content]) -> str:
    """Another one for every change of the suite and of the contents of its groups. home: where the runs are recorded.
    Nobody who reads it can guess a secret: all go into one slow hash."""
    suite = plan.suite.model_dump(mode="json", exclude=_OF_ALL_RUNS)
    groups = [(group.key, content.digest) for group, content in zip(plan.groups, contents, strict=True)]
    digest = hashlib.sha256(json.dumps([str(home), suite, groups]).encode()).hexdigest()
    pairs = enumerate(contents)
    secrets = {f"{number} {name}": value for number, one in pairs for name, value in one.secrets.items()}
    return slow_digest(secrets, salt=digest) if secrets else digest


def _parts(group: Group, prepared: PreparedRun, base: RunRequest) -> Iterator[Any]:
    spec = prepared.spec.model_dump(mode="json", exclude={"near": True, "inputs": {"__all__": {"source"}}})
    spec["labels"].pop(LABEL, None)
    yield from (__version__, spec, prepared.backend.name, prepared.model_address)
    yield prepared.judge and prepared.judge.address
    yield _agent(prepared.agent)
    yield list(_snapshots(prepared))
    yield [(item.name, item.sha256) for item in came_along(prepared.sources)]
    for script in (group.variant.model_script or base.model_script, base.judge_script):
        yield script and _digest(script.resolve())
    expected = group.case.expected
    yield [(str(file.relative_to(expected)), _digest(file)) for file in files_below(expected)] if expected else None


def _agent(agent: Agent) -> tuple[str, str | None, str | None]:
    return agent.name, agent.version, agent.declared.digest if agent.declared else None


def _snapshots(prepared: PreparedRun) -> Iterator[str | None]:
    """What the image is built from."""
    spec = prepared.spec
    if prepared.backend.backend.uses_images:
        yield prepared.settings.base_image
        with suppress(UnknownSnapshotError):  # the default is used instead
            for snapshot in with_bases(find_snapshot(spec.snapshot, spec.near), spec.near) if spec.snapshot else ():
                yield files_digest(snapshot.files())


def _digest(real: Path) -> str:
    with open_regular(real) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
