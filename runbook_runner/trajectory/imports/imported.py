"""Trajectory, imports: what a reader of a foreign form returns; times and values of others, made fit for events."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from runbook_runner.core.clock import BEGINNING, moment
from runbook_runner.core.events import Event


class Timed(NamedTuple):
    """An event with the time that its source says."""

    ts: str
    """As `clock.iso` writes it."""
    event: Event


@dataclass(frozen=True)
class Imported:
    """A run as a foreign file has it."""

    form: str
    """How messages call the form: `ATIF-v1.7`, `a hosted trajectory`."""
    events: Iterable[Timed]
    """The first is a RunStarted. Reading them may raise InputError."""
    collection: str | None = None
    """As the file names it; `None`: it does not. Not checked."""
    task: str | None = None
    trajectory_id: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    """Storage key of a file that the run has kept elsewhere → where it belongs, below the trajectory folder."""
    is_whole: bool = False
    """The events tell of every file that is to be told of: they are those of a whole run of this program."""
    notes: tuple[str, ...] = ()
    """What a reader has left out, in sentences."""


class Moments:
    """Reads times of others; one that can't be read is the one before it."""

    def __init__(self, first: str = BEGINNING):
        self.last = first

    def of(self, value: Any) -> str:
        self.last = moment(value) or self.last
        return self.last


def text_of(value: Any) -> str:
    """The value when it is text, else an empty one."""
    return value if isinstance(value, str) else ""


def objects_of(value: Any) -> list[dict[str, Any]]:
    """The objects in a list; what is not an object is left out."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def object_of(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
