"""Agents, sessions: what there is to know of a kind of session files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from runbook_runner.core.events import Event, ModelCalled, Usage

Line = dict[str, Any]


@dataclass
class Facts:
    """What the lines of a session say of all of it."""

    session: str = ""
    version: str = ""
    model: str = ""
    prompt: str = ""
    """The first that the user has said."""


class Form(NamedTuple):
    agent: str
    is_of: Callable[[Line], bool]
    """Whether a line, which has a text as its `type`, is of such a session."""
    note: Callable[[Line, Facts], None]
    """Takes the facts of a line."""
    reader: Callable[[], Callable[[Line], Iterator[Event]]]
    """Makes what turns one line after the other into events; an empty one is the end. Never raises."""


def called(model: str, usage: Usage) -> ModelCalled:
    return ModelCalled(
        number=0, dialect="unknown", model=model or "unknown", source="provider", status=200, usage=usage, seconds=0.0
    )
