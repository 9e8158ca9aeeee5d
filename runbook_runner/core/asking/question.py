"""Core: a question to a model and its answer, as plain data: who asks does not know the model's API, and who sends it
does not know what it is about."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from runbook_runner.core.events import Stop


class Picture(NamedTuple):
    media_type: str
    data: bytes


class Turn(NamedTuple):
    role: Literal["user", "assistant"]
    parts: tuple[str | Picture, ...]


class Question(NamedTuple):
    system: str
    turns: tuple[Turn, ...]
    """The last one is the user's."""
    schema: Mapping[str, Any]
    """JSON Schema of the answer, for a provider that can be held to one."""


class Answer(NamedTuple):
    text: str = ""
    stop: Stop | None = None
    """Why the model stopped early; `None`: it did not."""
    problem: str = ""
    """Why there is no answer; empty when there is one."""


Ask = Callable[[Question], Answer]
"""Asks a model. May raise CancelledError and RecordingError."""
