"""Runner: the secrets of a run: which are granted to it, which of those the agent and its MCP servers get, and what
must be redacted.

A runbook that declares a secret only wishes for it. What grants it is said in docs/security.md, "Secrets and keys".
"""

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from runbook_runner.agents.registry import find_facts
from runbook_runner.core.authority import only_from_user, opens_provider
from runbook_runner.core.criteria import CheckSource
from runbook_runner.core.declared import SECRET_PLACE, McpServer, Secret
from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.facts.providers import PROVIDER_KEYS, find_provider
from runbook_runner.core.redaction import Redactor, looks_secret, weakness
from runbook_runner.core.settings import MAX_ARGUMENT_BYTES
from runbook_runner.core.spec import RunSpec
from runbook_runner.core.text import counted
from runbook_runner.runner.request.valid_spec import require_secret_name
from runbook_runner.runner.request.variables import UserVariables

Consent = Callable[[Sequence[str]], bool]
"""Takes names of variables of the environment; whether the user has agreed that this runbook gets them."""


@dataclass(frozen=True)
class Granted:
    """The secrets that a run may use."""

    values: Mapping[str, str]
    """Variable → value."""
    refused: tuple[Secret, ...] = ()
    """Those that have a value on this machine which the user has not granted."""
    beside: Path | None = None
    """The `.env` beside the runbook, from which some may come; it need not exist."""

    def missing(self, spec: RunSpec) -> tuple[Secret, ...]:
        """The required ones that have no value on this machine."""
        return tuple(s for s in spec.secrets if s.required and s.env not in self.values and s not in self.refused)

    def askable(self, spec: RunSpec, typed: Collection[str]) -> tuple[Secret, ...]:
        """Those of the missing ones for which a person may be asked: the text of the question is the runbook's, so it
        is not asked for a provider's key. typed: names after `--secret`."""
        return tuple(s for s in self.missing(spec) if s.env in typed or not only_from_user(s.env))

    def require(self, spec: RunSpec) -> None:
        """Raises NotReadyError that names every missing secret (contract §9.2), or every one that is not granted."""
        missing = self.missing(spec)
        if missing:
            raise NotReadyError(
                f"{len(missing)} required secret{'s are' if len(missing) > 1 else ' is'} not set:",
                hint=_listed(missing),
                details="Set each in a .env beside the runbook, in a file given with --env-file, or in the environment "
                "and name it with --secret NAME.",
            )
        refused = tuple(s for s in self.refused if s.required and _is_used(spec, s))
        if refused:
            raise NotReadyError(
                f"The runbook wants {len(refused)} variable{'s' if len(refused) > 1 else ''} of your environment that "
                "you have not granted:",
                hint=_listed(refused),
                details="`--secret NAME` grants one to this run; `runbook trust PATH` all but providers' keys to this "
                "content of the runbook.",
            )

    def warnings(self, spec: RunSpec) -> Iterator[str]:
        """What was wished for, is there and is not granted, where the run does without."""
        kept = withheld(spec)
        for secret in self.refused:
            if secret not in kept and not secret.required:
                what = "a model provider's key" if opens_provider(secret.env) else "a variable of your environment"
                yield f"{secret.env} is {what} and was not granted: `--secret {secret.env}` gives it to the agent."


def _listed(secrets: Sequence[Secret]) -> str:
    return "\n".join(f"  {s.env}" + (f": {s.description}" if s.description else "") for s in secrets)


def with_typed(
    declared: Sequence[Secret], typed: Iterable[str], sources: Sequence[CheckSource] = ()
) -> tuple[Secret, ...]:
    """`--secret NAME` makes a declared secret required and visible to the agent, or adds one. One that opens a check
    source stays hidden from the agent. Raises InputError."""
    opening = {source.secret for source in sources}
    by_env = {secret.env: secret for secret in declared}
    for name in typed:
        require_secret_name(name, "--secret")
        old = by_env.get(name) or Secret(name=name, env=name)
        shown = old.expose_to_agent if opening & {old.env, old.name} else True
        by_env[name] = old._replace(required=True, expose_to_agent=shown)
    return tuple(by_env.values())


def grant_recorded(spec: RunSpec, typed: Sequence[str], user: UserVariables) -> tuple[RunSpec, Granted]:
    """The spec and the secrets of a recorded run: a recording is granted what was typed or is in `--env-file`, and
    nothing else."""
    secrets = with_typed(spec.secrets, typed, spec.criteria.checks.sources)
    spec = spec.model_copy(update={"secrets": secrets})
    return spec, grant(spec, typed, user, {}, lambda _: False)


def grant(
    spec: RunSpec, typed: Collection[str], user: UserVariables, beside: Mapping[str, str], consent: Consent
) -> Granted:
    """typed: names after `--secret`. beside: what the `.env` beside the runbook sets."""
    everything = user.all()
    values = {s.env: everything[s.env] for s in spec.secrets if s.env in typed and everything.get(s.env)}
    wished = [s for s in spec.secrets if s.env not in values]
    free = [s for s in wished if not only_from_user(s.env)]
    values |= {s.env: (user.env_file.get(s.env) or beside.get(s.env, "")) for s in free}
    values = {name: value for name, value in values.items() if value}
    asked = [s for s in free if s.env not in values and user.environment.get(s.env) and _is_used(spec, s)]
    if asked and consent([s.env for s in asked]):
        values |= {s.env: user.environment[s.env] for s in asked}
    return Granted(values, tuple(s for s in wished if s.env not in values and everything.get(s.env)))


def provider_keys(environ: Mapping[str, str]) -> Collection[str]:
    """Names of the provider key variables that have a value."""
    return {name for name in PROVIDER_KEYS if environ.get(name)}


# --- the agent -----------------------------------------------------------------------------------------------------


def own_keys(spec: RunSpec) -> tuple[Secret, ...]:
    """The declared secrets that are keys of the agent's own provider, for the gateway and not for the agent, unless the
    runbook or the request says otherwise."""
    own = find_facts(spec.agent, spec.near).providers[:1]
    names = {name for row in map(find_provider, own) if row for name in row.key_variables}
    return tuple(s for s in spec.secrets if s.expose_to_agent is None and {s.env, s.name} & names)


def _is_used(spec: RunSpec, secret: Secret) -> bool:
    """Whether the agent, an MCP server, a check or the host of a check source would get it."""
    if _opened_by(spec, secret):
        return True
    shown = secret.expose_to_agent is not False or secret.expose_to_checks
    return secret not in own_keys(spec) and (shown or bool(spec.mcp_servers))


def _opened_by(spec: RunSpec, secret: Secret) -> list[CheckSource]:
    return [source for source in spec.criteria.checks.sources if source.secret in (secret.env, secret.name)]


def withheld(spec: RunSpec) -> tuple[Secret, ...]:
    """The declared secrets that the agent does not get, granted or not: those that the runbook hides, those for an MCP
    server or a check source, and the keys of the agent's own provider."""
    served, own = {name for server in spec.mcp_servers for name in server.secrets}, own_keys(spec)
    served |= {source.secret for source in spec.criteria.checks.sources if source.secret}
    return tuple(
        s
        for s in spec.secrets
        if s.expose_to_agent is False or (s.expose_to_agent is None and (s in own or {s.env, s.name} & served))
    )


def explain_withheld(spec: RunSpec, secret: Secret) -> str:
    servers = [server.name for server in spec.mcp_servers if server.secrets & {secret.env, secret.name}]
    if servers:
        return f"{secret.env} goes to the MCP server {', '.join(servers)} only: the agent's environment lacks it."
    if sources := _opened_by(spec, secret):
        names = ", ".join(f"{source.name} ({source.url})" for source in sources)
        return f"{secret.env} is for the check source {names} only: the agent's environment lacks it."
    if secret.expose_to_checks:
        return f"{secret.env} goes to the checks, in the agent's sandbox: what the agent has left there may read it."
    return f"{secret.env} stays on this machine: the agent does not get it."


def agent_secrets(spec: RunSpec, granted: Mapping[str, str]) -> dict[str, str]:
    """Variable → value of the secrets that go into the sandbox. granted: `Granted.values`."""
    kept = withheld(spec)
    return {s.env: granted[s.env] for s in spec.secrets if granted.get(s.env) and s not in kept}


def check_secrets(spec: RunSpec, granted: Mapping[str, str]) -> dict[str, str]:
    """The same for the checks that the engine runs: what the agent gets, and what is for them alone."""
    own = {s.env: granted[s.env] for s in spec.secrets if s.expose_to_checks and granted.get(s.env)}
    return {**agent_secrets(spec, granted), **own}


def require_short(variables: Mapping[str, str]) -> None:
    """Raises InputError for a variable that no program can be started with."""
    for name, value in variables.items():
        if (size := len(f"{name}={value}".encode())) > MAX_ARGUMENT_BYTES:
            raise InputError(
                f"The secret {name} has {counted(size, 'byte')}; a variable can have {MAX_ARGUMENT_BYTES:,}."
            )


# --- MCP servers ---------------------------------------------------------------------------------------------------


def servers_with_secrets(spec: RunSpec, granted: Mapping[str, str]) -> tuple[McpServer, ...]:
    """The MCP servers with the values of their secrets, for the agent's configuration only and never for a record. A
    secret without a value becomes an empty text. granted: `Granted.values`."""
    by_name = {name: secret for secret in spec.secrets for name in (secret.env, secret.name)}
    return tuple(_with_values(server, by_name, granted) for server in spec.mcp_servers)


def _with_values(server: McpServer, secrets: Mapping[str, Secret], granted: Mapping[str, str]) -> McpServer:
    used: set[str] = set()

    def value_of(match: re.Match[str]) -> str:
        secret = secrets.get(match[1] or match[2])
        if secret is None:
            return match[0]
        used.add(secret.name)
        return granted.get(secret.env, "")

    def fill(text: str) -> str:
        return SECRET_PLACE.sub(value_of, text)

    filled = server._replace(
        args=tuple(fill(word) for word in server.args),
        env={name: fill(value) for name, value in server.env.items()},
        url=fill(server.url) if server.url else None,
        headers={name: fill(value) for name, value in server.headers.items()},
    )
    own = secrets.get(server.secret or "")
    value = granted.get(own.env) if own and own.name not in used else None
    if own is None or not value:
        return filled
    # The server's own secret has no placeholder: a command gets it as a variable, an address as a bearer token.
    if filled.command:
        return filled._replace(env={own.env: value, **filled.env})
    return filled._replace(headers={"Authorization": f"Bearer {value}", **filled.headers})


# --- redaction -----------------------------------------------------------------------------------------------------


def redactor_for(spec: RunSpec, environ: Mapping[str, str], *others: Mapping[str, str]) -> Redactor:
    """For the declared secrets, what is named like a secret in environ and in the environment itself, and others (name
    → value): a clone chooses the names of its secrets and the values in its `.env`, which take no other value's
    place, also after `--env-file`."""
    declared = {s.env: environ[s.env] for s in spec.secrets if environ.get(s.env)}
    return Redactor(_secrets_in(os.environ), _secrets_in(environ), declared, *others)


def weak_secrets(spec: RunSpec, environ: Mapping[str, str]) -> Iterator[str]:
    """Yields a warning for each declared secret whose value can't be told from ordinary text."""
    for secret in spec.secrets:
        warning = weakness(secret.env, environ[secret.env]) if environ.get(secret.env) else None
        if warning:
            yield warning


def redactor_for_user(spec: RunSpec | None, user: UserVariables) -> Redactor:
    """Also for every value of the file that the user has named, and for the passwords in addresses: what it is for
    leaves the machine. spec: `None` for a run without one."""
    everything = user.all()
    passwords = {name: found for name, value in everything.items() if (found := _password_in(value))}
    others = (user.env_file, passwords)
    return redactor_for(spec, everything, *others) if spec else Redactor(_secrets_in(everything), *others)


def _password_in(value: str) -> str | None:
    """Of an address, as `postgres://user:password@host` has it."""
    try:
        return unquote(urlsplit(value).password or "") or None
    except ValueError:
        return None


def redactor_for_environment(environ: Mapping[str, str]) -> Redactor:
    """For every provider key and every variable that is named like a secret."""
    return Redactor(_secrets_in(environ))


def _secrets_in(environ: Mapping[str, str]) -> dict[str, str]:
    named = {name: value for name, value in environ.items() if looks_secret(name, value)}
    return named | {name: environ[name] for name in provider_keys(environ)}
