"""Runner: the course of a recorded run: what is held of its log, which may have millions of events."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from runbook_runner.core.events import (
    AgentFinished,
    AgentStarted,
    CheckFinished,
    Evaluated,
    Event,
    ModelCalled,
    Recorded,
    RunFinished,
    RunStarted,
    SandboxStarted,
    ToolCalled,
)
from runbook_runner.trajectory.store import read_events

SomeEvent = TypeVar("SomeEvent", bound=Event)

_MOST_CHECKS: Final = 10_000


@dataclass
class Course:
    """Of each kind of event one, or a number."""

    model_calls: int = 0
    """Of the agent, recorded in the cassette or not."""
    answers: int = 0
    """How often a model answered it."""
    is_replayed: bool = False
    """At least one of its answers was a recorded one."""
    checks: list[CheckFinished] = field(default_factory=list)
    _held: dict[type[Event], Event] = field(default_factory=dict)

    def passing(self, events: Iterator[Recorded]) -> Iterator[Recorded]:
        """The same events, which are noted as they pass."""
        for recorded in events:
            event = recorded.event
            if isinstance(event, RunStarted | SandboxStarted | AgentStarted):
                self._held.setdefault(type(event), event)
            elif isinstance(event, AgentFinished | Evaluated | RunFinished):
                self._held[type(event)] = event
            elif isinstance(event, CheckFinished) and len(self.checks) < _MOST_CHECKS:
                self.checks.append(event)
            elif isinstance(event, ModelCalled) and event.asker == "agent":
                self.model_calls += 1
                self.answers += event.usage.api_calls
                self.is_replayed = self.is_replayed or event.source == "replay"
            yield recorded

    def one(self, kind: type[SomeEvent]) -> SomeEvent | None:
        """The first of what starts, the last of what ends; `None` when there is none."""
        event = self._held.get(kind)
        return event if isinstance(event, kind) else None


def read_course(folder: Path) -> Course:
    """Raises as `read_events`."""
    course = Course()
    for _ in course.passing(read_events(folder)):
        pass
    return course


def tool_calls_of(folder: Path) -> Iterator[ToolCalled]:
    """Raises as `read_events`."""
    return (recorded.event for recorded in read_events(folder) if isinstance(recorded.event, ToolCalled))
