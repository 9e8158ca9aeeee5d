"""Runner: how a run is to be made, and what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_runner.core.errors import RunbookError
from runbook_runner.core.settings import RecordMode, Settings
from runbook_runner.runner.cancellation import Cancellation
from runbook_runner.trajectory.recorder import Reader

if TYPE_CHECKING:
    from runbook_runner.runner.replay import Replaying
    from runbook_runner.trajectory.models import Trajectory


@dataclass(frozen=True)
class RunOptions:
    """How to run, as opposed to what: none of it changes the spec or its digest."""

    settings: Settings
    environ: Mapping[str, str]
    """Host variables that secrets and provider keys come from."""
    backend: str = "auto"
    """One of `backends.BACKENDS`."""
    strict_snapshot: bool = False
    """An unknown snapshot is an error, not a warning."""
    model_script: Path | None = None
    """Answers the agent's model calls instead of a provider."""
    replay: "Replaying | None" = None
    """Answers them from a recording; the script comes after it then."""
    record_mode: RecordMode = "full"
    """How much of the model calls is kept."""
    out: Path | None = None
    """Where to put a copy of the results."""
    keep: bool = False
    """Leave the sandbox there after the run."""
    warnings: tuple[str, ...] = ()
    """What the document gave cause to say; the run's first words."""
    author: str = "local"
    readers: Sequence[Reader] = ()
    cancellation: Cancellation = field(default_factory=Cancellation)


@dataclass(frozen=True)
class Outcome:
    trajectory: "Trajectory"
    folder: Path
    error: RunbookError | None
    """What ended the run early; `None` when it went through, whatever its verdict."""
