"""Command line: follows a run while it happens: shows it, lets Ctrl-C end it, and sums it up for people or as JSON."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console

from runbook_runner.cli.display import Display, print_summary
from runbook_runner.errors import CancelledError, ExitCode
from runbook_runner.events import Artifact, Recorded, SandboxStarted
from runbook_runner.runner.cancellation import Cancellation
from runbook_runner.runner.pipeline import Outcome, RunOptions
from runbook_runner.runner.pipeline import run as run_spec
from runbook_runner.spec import RunSpec
from runbook_runner.trajectory.models import RunbookOutputs


class Seen:
    """Keeps from the event stream what the summary needs."""

    def __init__(self) -> None:
        self.results: list[Artifact] = []
        self.sandbox: SandboxStarted | None = None

    def __call__(self, recorded: Recorded) -> None:
        event = recorded.event
        if isinstance(event, Artifact) and event.kind == "result":
            self.results.append(event)
        elif isinstance(event, SandboxStarted):
            self.sandbox = event

    def headline_first(self) -> list[Artifact]:
        return sorted(self.results, key=lambda a: (a.primary is None, a.primary or 0))


@dataclass(frozen=True)
class Followed:
    """A run that is over."""

    spec: RunSpec
    outcome: Outcome
    seen: Seen

    def json(self) -> dict[str, Any]:
        """The keys of contract §12.4 `jetty run`, and ours."""
        trajectory = self.outcome.trajectory
        outputs = trajectory.steps["run"].outputs
        assert isinstance(outputs, RunbookOutputs)
        results = [str(self.outcome.folder / artifact.path) for artifact in self.seen.headline_first()]
        return {
            "status": trajectory.status,
            "trajectory_id": trajectory.trajectory_id,
            "collection": self.spec.collection,
            "task": self.spec.task,
            "primary_output": results[0] if results else None,
            "results_files": results,
            "trajectory_url": (self.outcome.folder / "trajectory.json").as_uri(),
            "path": str(self.outcome.folder),
            "verdict": outputs.verdict,
            "success": outputs.success,
            "missing_outputs": outputs.missing_outputs,
            "error": str(self.outcome.error) if self.outcome.error else None,
            "usage": outputs.usage.model_dump(),
            "duration_seconds": trajectory.steps["run"].duration_seconds,
            "sandbox": self.seen.sandbox.backend if self.seen.sandbox else None,
            "image_digest": self.seen.sandbox.image_digest if self.seen.sandbox else None,
        }

    @property
    def exit_code(self) -> ExitCode:
        if self.outcome.error:
            return self.outcome.error.exit_code
        outputs = self.outcome.trajectory.steps["run"].outputs
        assert isinstance(outputs, RunbookOutputs)
        return ExitCode.PASS if outputs.verdict == "pass" else ExitCode.VERDICT_FAIL


def follow(spec: RunSpec, options: RunOptions, console: Console) -> Followed:
    """Runs it. Raises as `pipeline.run`."""
    seen, cancellation = Seen(), Cancellation()
    with Display(console) as display, _interruptible(cancellation):
        outcome = run_spec(spec, replace(options, readers=(seen, display), cancellation=cancellation))
    error = str(outcome.error) if outcome.error else None
    print_summary(console, outcome.trajectory, seen.headline_first(), outcome.folder, error)
    if console.quiet and error:
        sys.stderr.write(f"error: {error}\n")
    return Followed(spec, outcome, seen)


@contextmanager
def _interruptible(cancellation: Cancellation) -> Iterator[None]:
    """Ctrl-C once: the run ends in good order. Twice: at once, with nothing left running."""

    def on_signal(*_: object) -> None:
        if cancellation.requested:
            cancellation.abandon()
            os._exit(ExitCode.INTERRUPTED)
        if not cancellation.request():
            raise CancelledError("The run was cancelled.")

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
