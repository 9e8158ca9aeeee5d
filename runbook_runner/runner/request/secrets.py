"""Runner: secret values on the host: where they come from, which of them the agent and its MCP servers get, and what
must be redacted.

Values live in memory only. Order, strongest first: `--env-file`, the environment, `.env` beside the runbook
(contract §9.1).
"""

import os
import re
from collections.abc import Callable, Collection, Mapping
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_runner.agents.registry import find_facts
from runbook_runner.core.declared import McpServer, Secret
from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.facts.providers import PROVIDER_KEYS, find_provider
from runbook_runner.core.files import is_file, read_text
from runbook_runner.core.redaction import Redactor, looks_secret
from runbook_runner.core.spec import RunSpec

if TYPE_CHECKING:
    from dotenv.parser import Original

_PLACEHOLDER = re.compile(r"\$\{(\w+)\}|\{\{\s*secrets\.(\w+)\s*\}\}")


def load_environment(
    env_file: Path | None, runbook_folder: Path | None, warn: Callable[[str], None] | None = None
) -> dict[str, str]:
    """Name → value of every variable that a run may use. warn: gets a message for each line of the `.env` beside the
    runbook that sets no variable; `None`: such a line is an error, as in an `--env-file`. Raises InputError with
    `file:line`."""
    values: dict[str, str] = {}
    beside = runbook_folder / ".env" if runbook_folder else None
    if beside and is_file(beside):
        values |= _read_env_file(beside, warn)
    values |= os.environ
    if env_file:
        values |= _read_env_file(env_file)
    return values


def _read_env_file(path: Path, warn: Callable[[str], None] | None = None) -> dict[str, str]:
    from dotenv.parser import parse_stream

    bindings = list(parse_stream(StringIO(read_text(path, "environment file"), newline=None)))
    for binding in bindings:
        if binding.error:
            problem = _misspelt(path, binding.original)
            if warn is None:
                raise problem
            warn(" ".join(str(problem).splitlines()))
    return {binding.key: binding.value for binding in bindings if binding.key and binding.value}


def _misspelt(path: Path, original: "Original") -> InputError:
    text = original.string.lstrip()  # its value may be a secret: the message does not quote it
    line = original.line + original.string[: len(original.string) - len(text)].count("\n")
    return InputError("This line sets no variable.", where=f"{path}:{line}", hint="Write NAME=value, and close quotes.")


def provider_keys(environ: Mapping[str, str]) -> Collection[str]:
    """Names of the provider key variables that have a value."""
    return {name for name in PROVIDER_KEYS if environ.get(name)}


# --- the secrets of a spec -----------------------------------------------------------------------------------------


def missing_secrets(spec: RunSpec, environ: Mapping[str, str]) -> tuple[Secret, ...]:
    """The required secrets that have no value."""
    return tuple(s for s in spec.secrets if s.required and not environ.get(s.env))


def require_secrets(spec: RunSpec, environ: Mapping[str, str]) -> None:
    """Raises NotReadyError that names every missing secret (contract §9.2)."""
    missing = missing_secrets(spec, environ)
    if missing:
        lines = [f"  {s.env}" + (f": {s.description}" if s.description else "") for s in missing]
        raise NotReadyError(
            f"{len(missing)} required secret{'s are' if len(missing) > 1 else ' is'} not set:",
            hint="\n".join(lines),
            details="Set each in the environment, in a .env beside the runbook, or in a file given with --env-file.",
        )


def withheld(spec: RunSpec) -> tuple[Secret, ...]:
    """The declared secrets that the agent does not get: those that the runbook hides, those for an MCP server, and the
    keys of the agent's own provider, unless the runbook or the request exposes them."""
    own = find_facts(spec.agent, spec.near).providers[:1]
    kept = {name for row in map(find_provider, own) if row for name in row.key_variables}
    kept |= {server.secret for server in spec.mcp_servers if server.secret}
    return tuple(
        s for s in spec.secrets if s.expose_to_agent is False or (s.expose_to_agent is None and {s.env, s.name} & kept)
    )


def explain_withheld(spec: RunSpec, secret: Secret) -> str:
    servers = [server.name for server in spec.mcp_servers if server.secret in (secret.env, secret.name)]
    if servers:
        return f"{secret.env} goes to the MCP server {', '.join(servers)} only: the agent's environment lacks it."
    return f"{secret.env} stays on this machine: the agent does not get it."


def agent_secrets(spec: RunSpec, environ: Mapping[str, str]) -> dict[str, str]:
    """Variable → value of the secrets that go into the sandbox."""
    kept = withheld(spec)
    return {s.env: environ[s.env] for s in spec.secrets if environ.get(s.env) and s not in kept}


# --- MCP servers ---------------------------------------------------------------------------------------------------


def servers_with_secrets(spec: RunSpec, environ: Mapping[str, str]) -> tuple[McpServer, ...]:
    """The MCP servers with the values of their secrets, for the agent's configuration only and never for a record. A
    secret without a value becomes an empty text."""
    by_name = {name: secret for secret in spec.secrets for name in (secret.env, secret.name)}
    return tuple(_with_values(server, by_name, environ) for server in spec.mcp_servers)


def _with_values(server: McpServer, secrets: Mapping[str, Secret], environ: Mapping[str, str]) -> McpServer:
    used: set[str] = set()

    def value_of(match: re.Match[str]) -> str:
        secret = secrets.get(match[1] or match[2])
        if secret is None:
            return match[0]
        used.add(secret.name)
        return environ.get(secret.env, "")

    def fill(text: str) -> str:
        return _PLACEHOLDER.sub(value_of, text)

    filled = server._replace(
        args=tuple(fill(word) for word in server.args),
        env={name: fill(value) for name, value in server.env.items()},
        url=fill(server.url) if server.url else None,
        headers={name: fill(value) for name, value in server.headers.items()},
    )
    own = secrets.get(server.secret or "")
    value = environ.get(own.env) if own and own.name not in used else None
    if own is None or not value:
        return filled
    # The server's own secret has no placeholder: a command gets it as a variable, an address as a bearer token.
    if filled.command:
        return filled._replace(env={own.env: value, **filled.env})
    return filled._replace(headers={"Authorization": f"Bearer {value}", **filled.headers})


# --- redaction -----------------------------------------------------------------------------------------------------


def redactor_for(spec: RunSpec, environ: Mapping[str, str], extra: Mapping[str, str] | None = None) -> Redactor:
    """For the declared secrets, the values that `redactor_for_environment` redacts, and extra (name → value)."""
    declared = {s.env: environ[s.env] for s in spec.secrets if environ.get(s.env)}
    return Redactor({**_secrets_in(environ), **declared, **(extra or {})})


def redactor_for_environment(environ: Mapping[str, str]) -> Redactor:
    """For every provider key and every variable that is named like a secret."""
    return Redactor(_secrets_in(environ))


def _secrets_in(environ: Mapping[str, str]) -> dict[str, str]:
    named = {name: value for name, value in environ.items() if looks_secret(name, value)}
    return named | {name: environ[name] for name in provider_keys(environ)}
