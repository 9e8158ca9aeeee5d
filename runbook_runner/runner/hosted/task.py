"""Runner, hosted: a runbook as a task of the platform (contract §6.8): its text as it is written, without credentials
(see `credentials.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from runbook_runner.core.errors import InputError
from runbook_runner.core.formats.json_toml import plain_json
from runbook_runner.core.settings import ASSETS, DEFAULT_CPUS, DEFAULT_TIMEOUT_S
from runbook_runner.runbook.check.rules.safety import credentials_in
from runbook_runner.runbook.document import Runbook
from runbook_runner.runbook.run_settings import OwnSettings, own_settings
from runbook_runner.runner.hosted.credentials import DECLARE, cleaned_text, without_credentials
from runbook_runner.runner.request.choices import choose
from runbook_runner.runner.request.request import RunRequest
from runbook_runner.runner.request.resolve import task_of

_PATHS: Final = {
    "agent": "agent",
    "model": "model",
    "model_provider": "model_provider",
    "snapshot": "snapshot",
    "image": "image",
    "instruction": "instruction",
    "template_variables": "vars",
    "files": "file_paths",
    "mcp_servers": "mcp_servers",
    "code_checks": "code_checks",
    "strict_evaluation": "strict_evaluation",
}
"""Parameter of the step → key of `init_params`."""


@dataclass(frozen=True)
class Task:
    """What is registered."""

    name: str
    fields: Mapping[str, Any]
    """`workflow` and what else an update takes."""
    removed: tuple[str, ...]
    """Where credentials were, such as `mcp_servers.github.headers.Authorization`."""

    def update(self) -> dict[str, Any]:
        return dict(self.fields)

    def create(self) -> dict[str, Any]:
        return {"name": self.name, **self.fields, "is_private": True, "entity_type": "task"}


def task_from(runbook: Runbook, folder: Path | None, name: str | None = None) -> Task:
    """folder: the runbook's; `None` when it has none. name: of the task; `None`: by the title. Raises InputError for a
    document that is wrong, and for a credential that can't be removed from its text."""
    if problem := runbook.criteria.problem:
        raise InputError(problem)
    front, own = runbook.frontmatter, own_settings(runbook)
    servers, removed = without_credentials(front)
    text = cleaned_text(runbook, removed)
    for start, what in credentials_in(text):
        line = text.count("\n", 0, start) + 1
        raise InputError(f"This looks like a credential ({what}).", where=f"{runbook.source}:{line}", hint=DECLARE)
    workflow = {
        "init_params": _parameters(runbook, servers, text),
        "steps": ["run"],
        "step_configs": {"run": _step(own)},
    }
    fields = {
        "workflow": plain_json(workflow),
        "description": runbook.title,
        "version": front.version,
        "has_file_uploads": bool(own.inputs) or ASSETS in runbook.body,
        "is_chat_flow": False,
    }
    return Task(name or task_of(runbook, folder), fields, tuple(removed))


def _parameters(runbook: Runbook, servers: Mapping[str, Any], text: str) -> dict[str, Any]:
    front = runbook.frontmatter
    chosen = choose(front, RunRequest(runbook.source), ())
    checks = {key: value for key, value in front.code_checks.items() if key != "mcp_servers"}
    named = {
        "agent": chosen.agent.value,
        "model": chosen.model.value,
        "model_provider": chosen.provider.value,
        "snapshot": chosen.snapshot.value,
        "image": chosen.image.value,
    }
    return {
        **{key: value for key, value in named.items() if value is not None},
        "instruction": text,
        "mcp_servers": servers,
        "code_checks": {"sources": [], "timeout_sec": runbook.checks_config.timeout_s, **checks},
        "strict_evaluation": front.strict_evaluation,
        **({"runbook_evals_version": 2} if runbook.generation == 2 else {}),
        "vars": {},
        "file_paths": [],
    }


def _step(own: OwnSettings) -> dict[str, Any]:
    return {
        "activity": "runbook",
        **{f"{name}_path": f"init_params.{key}" for name, key in _PATHS.items()},
        **({"apt_packages": list(own.apt_packages)} if own.apt_packages else {}),
        "cpus": int(DEFAULT_CPUS),
        "memory": "8G",
        "timeout_sec": int(own.timeout or DEFAULT_TIMEOUT_S),
        "network_enabled": own.network != "model-only",
    }
