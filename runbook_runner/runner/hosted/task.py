"""Runner, hosted: a runbook as a task of the platform (contract §6.8): its text as it is written, without credentials.

A `headers:` or `env:` entry of an MCP server that is named like a credential, or looks like one, stays here, unless it
only names secrets. With one in its address or its arguments, or in the text, the runbook is refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from runbook_runner.core.declared import SECRET_PLACE
from runbook_runner.core.errors import InputError
from runbook_runner.core.formats.json_toml import plain_json
from runbook_runner.core.redaction.names import looks_secret
from runbook_runner.core.settings import ASSETS, DEFAULT_CPUS, DEFAULT_TIMEOUT_S
from runbook_runner.runbook.check.rules.safety import credentials_in
from runbook_runner.runbook.document import Runbook, parse
from runbook_runner.runbook.parts.frontmatter import Frontmatter, cut
from runbook_runner.runbook.run_settings import OwnSettings, own_settings
from runbook_runner.runner.request.choices import choose
from runbook_runner.runner.request.request import RunRequest
from runbook_runner.runner.request.resolve import task_of

_DECLARE: Final = "Write ${NAME} there, and declare NAME under `secrets:`."
REMOVED: Final = "removed-by-runbook-push"
"""In the text, in the place of a credential."""
_CREDENTIAL: Final = re.compile(r"auth|token|secret|passw|api.?key|cookie|credential", re.IGNORECASE)
_SCHEME: Final = re.compile(r"\s*(?:bearer|basic)\s", re.IGNORECASE)
_WORDS: Final = re.compile(r"\b(?:bearer|basic|token)\b|\s", re.IGNORECASE)
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
    servers, removed = _without_credentials(front)
    text = _cleaned_text(runbook, removed)
    for start, what in credentials_in(text):
        line = text.count("\n", 0, start) + 1
        raise InputError(f"This looks like a credential ({what}).", where=f"{runbook.source}:{line}", hint=_DECLARE)
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


# --- credentials ---------------------------------------------------------------------------------------------------


def _without_credentials(front: Frontmatter) -> tuple[dict[str, Any], dict[str, str]]:
    """The MCP servers of the frontmatter as they may be stored, and place → value of what was removed."""
    inner = front.code_checks.get("mcp_servers")
    blocks = {
        "code_checks.mcp_servers": inner if isinstance(inner, dict) else {},
        "mcp_servers": front.mcp_servers,
    }
    servers: dict[str, Any] = {}
    removed: dict[str, str] = {}
    for block, entries in blocks.items():
        for name, server in entries.items():
            kept = dict(server) if isinstance(server, dict) else server
            if isinstance(kept, dict):
                _require_open(f"{block}.{name}", kept)
            for part in ("headers", "env") if isinstance(kept, dict) else ():
                values = kept.get(part)
                if not isinstance(values, dict):
                    continue
                gone = {key: str(value) for key, value in values.items() if _is_credential(str(key), str(value))}
                removed |= {f"{block}.{name}.{part}.{key}": value for key, value in gone.items()}
                kept[part] = {key: value for key, value in values.items() if key not in gone}
            servers[name] = kept
    return servers, removed


def _require_open(place: str, server: Mapping[str, Any]) -> None:
    """Raises InputError for a server whose address or arguments hold a credential: without it they mean nothing."""
    url, args = server.get("url"), server.get("args")
    spelled = [str(arg) for arg in args] if isinstance(args, list) else []
    pairs = [arg.partition("=")[::2] for arg in spelled] + [*pairwise(spelled)]
    options = [(name, value) for name, value in pairs if name.startswith("-") and not value.startswith("-")]
    if _holds_credential(str(url or "")):
        raise InputError(f"The address {place}.url holds a credential.", hint=_DECLARE)
    if any(map(_holds_credential, spelled)) or any(_is_credential(name, value) for name, value in options):
        raise InputError(f"The arguments {place}.args hold a credential.", hint=_DECLARE)


def _is_credential(key: str, value: str) -> bool:
    is_named = bool(_CREDENTIAL.search(key)) or looks_secret(key, value)
    return (is_named and not _names_secrets(value)) or _holds_credential(value)


def _names_secrets(value: str) -> bool:
    """Whether it is nothing else."""
    return value.startswith("secret:") or not _WORDS.sub("", SECRET_PLACE.sub("", value))


def _holds_credential(value: str) -> bool:
    """Whether it looks like one, whatever it is called."""
    if _SCHEME.match(value) and not _names_secrets(value):
        return True
    if any(credentials_in(value)):
        return True
    try:
        parts = urlsplit(value) if "://" in value else None
        asked = parse_qsl(parts.query) if parts else []
    except ValueError:
        return True
    user = parts.netloc.rpartition("@")[0] if parts else ""
    return not _names_secrets(user) or any(_is_credential(*pair) for pair in asked)


def _cleaned_text(runbook: Runbook, removed: Mapping[str, str]) -> str:
    """The document without these values in its frontmatter. Raises InputError when one is written there in a way in
    which it can't be found."""
    if not removed:
        return runbook.text
    parts = cut(runbook.text)
    head = parts.head
    for value in sorted(removed.values(), key=len, reverse=True):
        head = head.replace(value, REMOVED)
    left = parse(head + parts.body, runbook.source).frontmatter
    still = [place for place, value in _without_credentials(left)[1].items() if REMOVED not in value]
    if still:
        message = f"The credential {still[0]} can't be removed from the text."
        raise InputError(message, where=runbook.source, hint=_DECLARE)
    return head + parts.body
