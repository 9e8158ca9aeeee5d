"""Trajectory: `sandbox.log`, what the sandbox was made of, how it ended. A reader of the event stream."""

from pathlib import Path

from runbook_runner.core.disk.private import private_opener
from runbook_runner.core.errors import RecordingError
from runbook_runner.core.events import (
    AgentFinished,
    Event,
    Log,
    NetworkConnection,
    PhaseFinished,
    Recorded,
    RunFinished,
    SandboxStarted,
)
from runbook_runner.core.text import printable_name

SANDBOX_LOG = "sandbox.log"


class SandboxLog:
    """Appends one line per event that concerns the sandbox: build, start, limits hit, stop."""

    def __init__(self, folder: Path):
        self._path = folder / SANDBOX_LOG

    def __call__(self, recorded: Recorded) -> None:
        """Raises RecordingError."""
        line = _line(recorded.event)
        if line:
            try:
                with open(self._path, "a", encoding="utf-8", errors="backslashreplace", opener=private_opener) as log:
                    # Lines after the first are indented, so that a message can't forge an entry.
                    log.write(f"{recorded.ts} " + "\n    ".join(map(printable_name, line.splitlines())) + "\n")
            except OSError as error:
                raise RecordingError.of(error, self._path) from error


def _line(event: Event) -> str | None:
    match event:
        case Log(source="image" | "sandbox"):
            return event.message
        case Log(level="warning" | "error"):
            return f"{event.level}: {event.message}"
        case NetworkConnection(allowed=False):
            return f"refused {event.host}:{event.port}: {event.reason}"
        case SandboxStarted():
            image = f" from {event.image} {event.image_digest}" if event.image else ""
            held = ", ".join(f"{limit} {how}" for limit, how in event.limits.items())
            return f"started {event.backend} {event.sandbox_id}{image}; limits: {held}"
        case PhaseFinished():
            return f"{event.phase} took {event.seconds:.3f} s"
        case AgentFinished():
            why = f": {event.error.splitlines()[0]}" if event.error else ""
            return f"agent ended by {event.ended_by}, exit code {event.exit_code}{why}"
        case RunFinished():
            return f"run {event.known_status}"
    return None
