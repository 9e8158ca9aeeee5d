"""Workflows: the events of a workflow's steps. With them alone a workflow goes on after its process has died."""

from typing import Annotated, Any, Literal

from runbook_runner.core.events import Count, Event, Fixed, Json, Name, Seconds

Outcome = Literal["completed", "failed", "cancelled"]


class StepStarted(Event):
    """An attempt at a step begins."""

    type: Literal["step.started"] = "step.started"
    step: Name
    visit: Count
    """1-based: jumps may lead to a step again."""
    attempt: Count = 1
    """1-based, of this visit."""
    activity: Name
    inputs: Annotated[dict[str, Any], "name"]
    depends_on: tuple[str, ...]


class StepFinished(Event):
    """An attempt at a step has ended."""

    type: Literal["step.finished"] = "step.finished"
    step: Name
    visit: Count
    attempt: Count = 1
    status: Outcome
    outputs: Json = None
    """An object; `None` unless it is completed."""
    error: str | None = None
    is_final: bool = False
    """Another attempt could not end in another way."""
    seconds: Seconds = 0.0


class ChildFinished(Event):
    """One of the runs that a step has started has ended."""

    type: Literal["child.finished"] = "child.finished"
    step: Name
    visit: Count
    index: Count
    """0-based, of its item."""
    reference: dict[str, Any]
    """As in `trajectory_references` (contract §6.6)."""


class StepAnswered(Event):
    """Somebody has answered what a step waits for."""

    type: Literal["step.answered"] = "step.answered"
    step: Name
    visit: Count
    approved: bool
    value: Json = None
    author: Fixed
