"""Core: what every room may know of an agent, and which provider and model follow from it (contract §4.3–4.5).

The document room checks runbooks with these facts, and may import neither the agents' room nor pydantic.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

from runbook_runner.core.facts.providers import (
    PROVIDERS,
    is_maker,
    maker_of,
    only_other_maker,
    provider_of_prefix,
    spell_model,
)
from runbook_runner.core.patterns import fits


class AgentFacts(NamedTuple):
    name: str
    dialect: str | None = None
    """The model API it speaks; `None`: it calls no model through the gateway."""
    default_model: str | None = None
    models: str = ""
    """Regular expression: a model whose whole name it matches means this agent, when the runbook names no agent."""
    declared_models: str = ""
    """The same, from a file that declares an agent: it may be hostile."""
    providers: tuple[str, ...] = ()
    """The providers that it can use, its own first; empty: it has none of its own, and any may be named."""
    runs_blocks: bool = False
    """It runs the code blocks of the steps, and nothing else: it can't judge."""

    def means(self, model: str) -> bool:
        """Whether the model's name means this agent."""
        if self.declared_models:
            return fits(self.declared_models, model)
        return bool(self.models and re.fullmatch(self.models, model))


def choose_provider(agent: AgentFacts, model: str | None, keys: Collection[str]) -> tuple[str | None, str]:
    """The provider when none is named, and why that one, for people. `None`: the agent has none of its own.

    keys: names of the key variables that have a value. The model's maker counts where the agent itself can't ask it,
    because the gateway translates.
    """
    prefix = model.partition("/")[0] if model and "/" in model else None
    if prefix and (named := provider_of_prefix(prefix)):
        return named, "the model's name says so"
    own = agent.providers[0] if agent.providers else None
    wanted = model or agent.default_model or ""
    selecting = (row.name for row in PROVIDERS.values() if row.key_selects and row.name in agent.providers)
    for name in filter(None, (*selecting, own, maker_of(wanted))):
        if (key := key_for(name, keys)) and serves(name, wanted):
            return name, f"{key} is set"
    if prefix and own and not is_maker(prefix) and (own not in PROVIDERS or PROVIDERS[own].makers):
        return prefix, "the model's name says so"
    return own, f"{agent.name}'s own" if own else f"{agent.name} has no provider of its own"


def key_for(provider: str, keys: Collection[str]) -> str | None:
    """Of these variables one that opens the provider."""
    row = PROVIDERS.get(provider)
    return next((variable for variable, _ in row.keys if variable in keys), None) if row else None


def serves(provider: str, model: str) -> bool:
    """Whether the provider could be asked for the model, as far as the names tell."""
    return spell_model(model, provider) is not None and only_other_maker(model, provider) is None


def model_for(agent: AgentFacts, model: str | None, provider: str | None) -> str | None:
    """The name to ask the provider for; as given where the provider's spelling is not known."""
    model = model or agent.default_model
    if model is None or provider is None:
        return model
    return spell_model(model, provider) or model
