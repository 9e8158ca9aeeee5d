"""Runner: which agent, provider, model and image a run takes, each with the reason (contract §4.3-4.5)."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from runbook_runner.agents.registry import find_facts, infer_agent
from runbook_runner.core.errors import InputError
from runbook_runner.core.facts.agents import AgentFacts, choose_provider, key_for, model_for
from runbook_runner.core.facts.providers import find_provider, only_other_maker
from runbook_runner.core.settings import DEFAULT_SNAPSHOT
from runbook_runner.runbook.parts.frontmatter import Frontmatter
from runbook_runner.runner.request.request import RunRequest

_ASKED = "asked for"


@dataclass(frozen=True)
class Choice:
    value: str | None
    why: str
    """For people: `frontmatter, line 4`, `OPENROUTER_API_KEY is set`."""


@dataclass(frozen=True)
class Choices:
    agent: Choice
    """May name an unknown agent: `find_agent` refuses it."""
    provider: Choice
    model: Choice
    snapshot: Choice
    image: Choice


def choose(
    front: Frontmatter, request: RunRequest, keys: Collection[str], warn: Callable[[str], None] = lambda _: None
) -> Choices:
    """keys: names of the provider key variables that have a value on this machine. warn: gets what of the document is
    not used. Never raises."""
    agent = _agent(front, request)
    image = _image(front, request)
    snapshot = _snapshot(front, request, image)
    facts = _facts(str(agent.value), request.near)
    if facts and facts.dialect is None:
        none = Choice(None, f"{agent.value} calls no model")
        return Choices(agent, none, none, snapshot, image)
    facts = facts or AgentFacts(str(agent.value))
    asked = _routed(front, request, facts, keys)
    provider = _provider(asked, request, facts, keys)
    model = _model(asked, request, facts, provider.value)
    if asked is not front:
        instead = f"which gets its own default, {model.value}. --model names another."
        warn(f"The runbook's model {front.model} is not for {agent.value}, {instead}")
    return Choices(agent, provider, model, snapshot, image)


def _agent(front: Frontmatter, request: RunRequest) -> Choice:
    named = _said(request.agent, front.agent, front, "agent")
    if named:
        return Choice(str(named.value).strip().lower(), named.why)
    model = request.model or front.model
    agent = infer_agent(model, request.near).name
    return Choice(agent, f"inferred from the model {model}" if model else "the default")


def _provider(front: Frontmatter, request: RunRequest, agent: AgentFacts, keys: Collection[str]) -> Choice:
    named = _said(request.provider, front.model_provider, front, "model_provider")
    return named or Choice(*choose_provider(agent, request.model or front.model, keys))


def _routed(front: Frontmatter, request: RunRequest, agent: AgentFacts, keys: Collection[str]) -> Frontmatter:
    """Without the runbook's model and provider, when another agent was asked for and can't ask for that model, or only
    by a translation while a key for its own model is there."""
    if not (request.agent and front.model and agent.default_model) or request.model:
        return front
    own = front._replace(model=None, model_provider=None)
    provider = str(_provider(front, request, agent, keys).value)
    if only_other_maker(front.model, provider):
        return own
    row = find_provider(provider)
    if request.provider or row is None or row.is_local or provider in agent.providers:
        return front
    usual = str(_provider(own, request, agent, keys).value)
    translated = key_for(provider, keys) and not key_for(usual, keys)
    return front if translated or usual == provider else own


def _model(front: Frontmatter, request: RunRequest, agent: AgentFacts, provider: str | None) -> Choice:
    named = _said(request.model, front.model, front, "model")
    spelled = model_for(agent, named.value if named else None, provider)
    why = named.why if named else f"{agent.name}'s default"
    given = named.value if named else agent.default_model
    return Choice(spelled, why if spelled == given else f"{why}: {given}, as {provider} spells it")


def _image(front: Frontmatter, request: RunRequest) -> Choice:
    if request.snapshot and not request.image:
        return Choice(None, "a snapshot was asked for")
    return _said(request.image, front.image, front, "image") or Choice(None, "none named")


def _snapshot(front: Frontmatter, request: RunRequest, image: Choice) -> Choice:
    if image.value:
        return Choice(None, "the image is used instead")
    return _said(request.snapshot, front.snapshot, front, "snapshot") or Choice(DEFAULT_SNAPSHOT, "the default")


def _said(asked: str | None, written: str | None, front: Frontmatter, key: str) -> Choice | None:
    if asked:
        return Choice(asked, _ASKED)
    return Choice(written, f"frontmatter, line {front.lines[key]}") if written else None


def _facts(agent: str, near: Sequence[Path]) -> AgentFacts | None:
    """`None` for an agent that is not known here, or can't be loaded: `resolve` says why."""
    try:
        return find_facts(agent, near)
    except InputError:
        return None
