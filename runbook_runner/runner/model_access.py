"""Runner: the agent's access to its model during one run: a session of the gateway, and who answers its calls.

Imported only by runs that call a model: the gateway takes 50 ms to import.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from runbook_runner.agents.base import Agent
from runbook_runner.agents.built_in import BUILT_IN_AGENTS
from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.events import Emit
from runbook_runner.core.facts.agents import key_for
from runbook_runner.core.spec import Limits, RunSpec
from runbook_runner.gateway import (
    Budget,
    Cassette,
    Session,
    Spending,
    Upstream,
    check_environment,
    listen,
    load_script,
    provider_from,
)
from runbook_runner.runner.replay.cassette import CassetteReplay
from runbook_runner.runner.request.secrets import provider_keys
from runbook_runner.sandbox.base import GatewayAddress


@dataclass(frozen=True)
class ModelAccess:
    session: Session
    url: str
    """Base URL as the sandbox reaches it."""


def find_upstream(
    agent: Agent, spec: RunSpec, script: Path | None, environ: Mapping[str, str], replay: CassetteReplay | None
) -> Upstream | None:
    """Returns what answers the agent's model calls; `None` when the agent makes none. script: with a replay, it answers
    after that.

    Raises InputError for a bad script, price file or pace, also when nothing uses it, for a script that no call would
    ask, and for an unknown provider; NotReadyError for a missing key: before anything starts.
    """
    check_environment(environ)
    scripted = load_script(script) if script else None
    if agent.dialect is None:
        if scripted:
            raise InputError(f"--model-script has no meaning with the agent {agent.name}, which calls no model.")
        return None

    def provider() -> Upstream:
        try:
            return provider_from(spec.provider, environ, model=spec.model, dialect=agent.dialect)
        except NotReadyError as error:
            error.hint = " ".join(filter(None, (error.hint, _of_other_key(spec.provider, environ))))
            raise

    if replay is None:
        return scripted or provider()
    fallback = provider() if replay.asks_provider else None
    continued = replace(scripted, id_prefix=f"fork{replay.until}") if scripted else None
    return replay.upstream(continued or fallback)


def _of_other_key(provider: str | None, environ: Mapping[str, str]) -> str | None:
    """Names an agent for which the user has a key, when there is none for this provider."""
    keys = provider_keys(environ)
    if provider is None or key_for(provider, keys):
        return None
    able = ((facts.name, key_for(own, keys)) for facts in BUILT_IN_AGENTS.values() for own in facts.providers[:1])
    return next((f"{key} is set: --agent {name} takes it." for name, key in able if key), None)


@contextmanager
def model_access(
    upstream: Upstream,
    address: GatewayAddress,
    cassette: Cassette,
    token: str,
    limits: Limits,
    within: Spending | None,
    emit: Emit,
) -> Iterator[ModelAccess]:
    """A listening socket with one session, both closed when the block ends. within: a budget of several runs. Raises
    NotReadyError when the address can't be listened on."""
    budget = Budget(limits.max_cost_usd, limits.max_tokens, limits.max_calls)
    with listen(address.bind) as listener:
        session = listener.open(
            upstream=upstream, cassette=cassette, emit=emit, token=token, budget=budget, within=within
        )
        yield ModelAccess(session, f"http://{address.reach}:{address.port or listener.address[1]}")
