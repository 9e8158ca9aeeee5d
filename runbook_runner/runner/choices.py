"""Runner: which agent, provider, model and sandbox image a run takes, each with the reason (contract §4.3-4.5)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_runner.agents.registry import find_agent
from runbook_runner.core.errors import InputError
from runbook_runner.core.model_names import DEFAULT_MODELS, explain_provider, infer_agent, model_for
from runbook_runner.core.settings import DEFAULT_SNAPSHOT
from runbook_runner.runbook.parts.frontmatter import Frontmatter

if TYPE_CHECKING:
    from runbook_runner.runner.resolve import RunRequest

_ASKED = "asked for"


@dataclass(frozen=True)
class Choice:
    value: str | None
    why: str
    """For people: `frontmatter, line 4`, `OPENROUTER_API_KEY is set`."""


@dataclass(frozen=True)
class Choices:
    agent: Choice
    """May name an agent nobody here knows: `find_agent` is the judge of that."""
    provider: Choice
    model: Choice
    snapshot: Choice
    image: Choice


def choose(front: Frontmatter, request: "RunRequest", keys: Collection[str]) -> Choices:
    """keys: names of the provider key variables that have a value on this machine. Never raises."""
    agent = _agent(front, request)
    image = _image(front, request)
    snapshot = _snapshot(front, request, image)
    if not _uses_model(str(agent.value), request.near):
        none = Choice(None, f"{agent.value} calls no model")
        return Choices(agent, none, none, snapshot, image)
    provider = _provider(front, request, str(agent.value), keys)
    return Choices(agent, provider, _model(front, request, str(agent.value), provider.value), snapshot, image)


def _agent(front: Frontmatter, request: "RunRequest") -> Choice:
    named = _said(request.agent, front.agent, front, "agent")
    if named:
        return Choice(str(named.value).strip().lower(), named.why)
    model = request.model or front.model
    agent = infer_agent(model)
    return Choice(agent, f"inferred from the model {model}" if model else "the default")


def _provider(front: Frontmatter, request: "RunRequest", agent: str, keys: Collection[str]) -> Choice:
    named = _said(request.provider, front.model_provider, front, "model_provider")
    return named or Choice(*explain_provider(agent, None, request.model or front.model, keys))


def _model(front: Frontmatter, request: "RunRequest", agent: str, provider: str | None) -> Choice:
    named = _said(request.model, front.model, front, "model")
    spelled = model_for(agent, named.value if named else None, provider)
    why = named.why if named else f"{agent}'s default"
    given = named.value if named else DEFAULT_MODELS.get(agent)
    return Choice(spelled, why if spelled == given else f"{why}: {given}, as {provider} spells it")


def _image(front: Frontmatter, request: "RunRequest") -> Choice:
    if request.snapshot and not request.image:
        return Choice(None, "a snapshot was asked for")
    return _said(request.image, front.image, front, "image") or Choice(None, "none named")


def _snapshot(front: Frontmatter, request: "RunRequest", image: Choice) -> Choice:
    if image.value:
        return Choice(None, "the image is used instead")
    return _said(request.snapshot, front.snapshot, front, "snapshot") or Choice(DEFAULT_SNAPSHOT, "the default")


def _said(asked: str | None, written: str | None, front: Frontmatter, key: str) -> Choice | None:
    if asked:
        return Choice(asked, _ASKED)
    return Choice(written, f"frontmatter, line {front.lines[key]}") if written else None


def _uses_model(agent: str, near: Sequence[Path]) -> bool:
    try:
        return find_agent(agent, near).dialect is not None
    except InputError:  # whoever needs the agent itself will say what is wrong
        return True
