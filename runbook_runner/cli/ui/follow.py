"""Command line: follows a live run: shows its events, lets Ctrl-C cancel it, and sums it up as text or JSON."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runbook_runner.cli.ui.ask import ask
from runbook_runner.core.errors import CancelledError, ExitCode
from runbook_runner.core.events import Artifact, Recorded, SandboxStarted
from runbook_runner.runner import Outcome, PreparedRun, Question, run
from runbook_runner.runner.cancellation import Cancellation
from runbook_runner.runner.request.request import Ask
from runbook_runner.trajectory.recorder import Reader

if TYPE_CHECKING:
    from rich.console import Console


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

    prepared: PreparedRun
    outcome: Outcome
    seen: Seen

    def json(self) -> dict[str, Any]:
        """The keys of `jetty run` (contract §12.4), and further ones."""
        trajectory, outputs = self.outcome.trajectory, self.outcome.outputs
        results = [str(self.outcome.folder / artifact.path) for artifact in self.seen.headline_first()]
        return {
            "status": trajectory.status,
            "trajectory_id": trajectory.trajectory_id,
            "collection": self.prepared.spec.collection,
            "task": self.prepared.spec.task,
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


def ask_on_terminal() -> Ask | None:
    """Returns a function that asks at the terminal; `None` when stdin or stderr is not a terminal."""
    return _ask if sys.stdin.isatty() and sys.stderr.isatty() else None


def _ask(question: Question) -> str:
    """Raises KeyboardInterrupt when the input has ended."""
    return ask(f"{question.name} ({question.text})", is_secret=question.is_secret)


def console_for(*, quiet: bool, json: bool) -> "Console | None":
    """Returns the console on which a run is shown; `None` when it is not shown."""
    if quiet:
        return None
    from rich.console import Console

    return Console(stderr=json, highlight=False)


def follow(prepared: PreparedRun, console: "Console | None") -> Followed:
    """Runs it and shows it on the console. Raises the errors of `runner.run`."""
    if console is None:
        followed = _follow(prepared)
        if followed.outcome.error:
            sys.stderr.write(f"error: {followed.outcome.error}\n")
        return followed
    from runbook_runner.cli.ui.display import Display, print_summary

    with Display(console) as display:
        followed = _follow(prepared, display)
    outcome, error = followed.outcome, str(followed.outcome.error) if followed.outcome.error else None
    print_summary(console, outcome.trajectory, followed.seen.headline_first(), outcome.folder, error)
    return followed


def _follow(prepared: PreparedRun, *readers: Reader) -> Followed:
    seen, cancellation = Seen(), Cancellation()
    with _interruptible(cancellation):
        outcome = run(prepared, (seen, *readers), cancellation)
    return Followed(prepared, outcome, seen)


@contextmanager
def _interruptible(cancellation: Cancellation) -> Iterator[None]:
    """The first Ctrl-C cancels the run, which then collects its results; the second kills everything and exits. A
    terminal that is closed counts as one Ctrl-C, however often it signals, and is ignored under `nohup`."""

    def on_signal(number: int, _: object) -> None:
        if not cancellation.requested:
            if not cancellation.request():
                raise CancelledError("The run was cancelled.")
        elif number != signal.SIGHUP:
            cancellation.abandon()
            os._exit(ExitCode.INTERRUPTED)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
