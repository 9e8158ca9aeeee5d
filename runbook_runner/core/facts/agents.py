"""Core: what every room may know of an agent, and which provider and model follow from it (contract §4.3–4.5).

The document room checks runbooks with these facts, and may import neither the agents' room nor pydantic.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

from runbook_runner.core.facts.providers import PROVIDERS, is_maker, provider_of_prefix, spell_model
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

    keys: names of the key variables that have a value. A key does not select a provider that could not be given this
    model's name.
    """
    if not agent.providers:
        return None, f"{agent.name} has no provider of its own"
    prefix = model.partition("/")[0] if model and "/" in model else None
    if prefix and (named := provider_of_prefix(prefix)):
        return named, "the model's name says so"
    for row in PROVIDERS.values():
        if not row.key_selects or row.name not in agent.providers:
            continue
        key = next((variable for variable, _ in row.keys if variable in keys), None)
        if key and (model is None or spell_model(model, row.name) is not None):
            return row.name, f"{key} is set"
    own = agent.providers[0]
    if prefix and not is_maker(prefix) and (own not in PROVIDERS or PROVIDERS[own].makers):
        return prefix, "the model's name says so"
    return own, f"{agent.name}'s own"


def model_for(agent: AgentFacts, model: str | None, provider: str | None) -> str | None:
    """The name to ask the provider for; as given where the provider's spelling is not known."""
    model = model or agent.default_model
    if model is None or provider is None:
        return model
    return spell_model(model, provider) or model
