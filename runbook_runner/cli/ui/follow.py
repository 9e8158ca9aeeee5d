"""Command line: follows a live run: shows its events, lets Ctrl-C cancel it, and sums it up as text or JSON."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runbook_runner.cli.ui.ask import ask
from runbook_runner.core.errors import ExitCode
from runbook_runner.core.events import AGENT_FAILED, NOTES, Artifact, Log, Recorded, SandboxStarted
from runbook_runner.core.text import printable_output
from runbook_runner.evaluation.gates import Gate, Reached
from runbook_runner.runner import Outcome, PreparedRun, Question, run
from runbook_runner.runner.cancellation import Cancellation
from runbook_runner.runner.request.request import Ask
from runbook_runner.trajectory.outcome import is_provisional
from runbook_runner.trajectory.recorder import Reader

if TYPE_CHECKING:
    from rich.console import Console

    from runbook_runner.cli.ui.display import Display
    from runbook_runner.runner.suite.evaluate import Stopping

_MOST_PROBLEMS = 3
_MOST_SAID = 200


class Seen:
    """Keeps from the event stream what the summary needs."""

    def __init__(self) -> None:
        self._results: dict[str, Artifact] = {}
        self.sandbox: SandboxStarted | None = None
        self.notes: list[str] = []
        """What is to be known of the results, for people."""

    def __call__(self, recorded: Recorded) -> None:
        event = recorded.event
        if isinstance(event, Artifact) and event.kind == "result":
            self._results[event.path] = event
        elif isinstance(event, SandboxStarted):
            self.sandbox = event
        elif isinstance(event, Log) and event.source in NOTES:
            self.notes.append(event.message)

    def headline_first(self) -> list[Artifact]:
        return sorted(self._results.values(), key=lambda a: (a.primary is None, a.primary or 0))


@dataclass(frozen=True)
class Followed:
    """A run that is over."""

    prepared: PreparedRun
    outcome: Outcome
    seen: Seen
    gates: tuple[Reached, ...] = ()
    """What decides in the place of the verdict, if any."""

    @property
    def exit_code(self) -> ExitCode:
        """An error has its own, whatever the gates say."""
        if self.outcome.error or not self.gates:
            return self.outcome.exit_code
        return ExitCode.PASS if all(gate.holds for gate in self.gates) else ExitCode.VERDICT_FAIL

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the verdict is not a pass."""
        return self.outcome.evaluated.reasons if self.outcome.evaluated else ()

    @property
    def problems(self) -> tuple[str, ...]:
        """Why it did not pass: first the error that ended it, then what the evaluation found."""
        if error := self.outcome.error:
            return (str(error), *(reason for reason in self.reasons if not reason.startswith(AGENT_FAILED)))
        return self.reasons

    def problem(self) -> str | None:
        """The same in one sentence, or as the error says it; `None` for a run that passed, or holds all its gates."""
        if self.outcome.error:
            return str(self.outcome.error)
        if self.gates:
            failed = [f"{one.gate}: {one.why}" for one in self.gates if not one.holds]
            return f"Not reached: {in_short(failed)}" if failed else None
        return f"The verdict is fail: {in_short(self.reasons)}" if self.reasons else None

    def require_copied(self) -> None:
        """To be called last, when its verdict is told. Raises RunbookError when `--out` does not have the results."""
        if self.outcome.not_copied:
            raise self.outcome.not_copied

    def json(self) -> dict[str, Any]:
        """The keys of `jetty run` (contract §12.4), and further ones."""
        trajectory, outputs, seen = self.outcome.trajectory, self.outcome.outputs, self.outcome.evaluated
        results = [str(self.outcome.folder / artifact.path) for artifact in self.seen.headline_first()]
        diverged = self.outcome.divergences
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
            "provisional": is_provisional(trajectory.attributes.params),
            "success": outputs.success,
            "missing_outputs": outputs.missing_outputs,
            "required_outputs": [found.model_dump() for found in (seen.outputs if seen else ())],
            "reasons": list(self.reasons),
            "gates": [{"gate": str(one.gate), "holds": one.holds, "why": one.why} for one in self.gates],
            "judge": trajectory.attributes.params.get("judge"),
            "notes": self.seen.notes,
            "error": str(self.outcome.error) if self.outcome.error else None,
            "usage": outputs.usage.model_dump(),
            "duration_seconds": trajectory.steps["run"].duration_seconds,
            "sandbox": self.seen.sandbox.backend if self.seen.sandbox else None,
            "image_digest": self.seen.sandbox.image_digest if self.seen.sandbox else None,
            **({"divergences": diverged} if diverged else {}),
        }


def ask_on_terminal() -> Ask | None:
    """Returns a function that asks at the terminal; `None` when stdin or stderr is not a terminal."""
    return _ask if sys.stdin.isatty() and sys.stderr.isatty() else None


def _ask(question: Question) -> str:
    """Raises KeyboardInterrupt when the input has ended."""
    if question.yes_or_no:
        return ask(question.text, "no")
    said = " ".join(question.text.split())  # a runbook's words, which on lines of their own could pass for another's
    said = said if len(said) <= _MOST_SAID else f"{said[:_MOST_SAID]}…"
    return ask(f"{question.name} ({said})", is_secret=question.is_secret)


def console_for(*, quiet: bool, json: bool) -> "Console | None":
    """Returns the console on which a run is shown; `None` when it is not shown."""
    if quiet:
        return None
    from runbook_runner.cli.ui.console import make_console

    return make_console(stderr=json)


def follow(prepared: PreparedRun, console: "Console | None", gates: Sequence[Gate] = ()) -> Followed:
    """Runs it and shows it on the console, if any. Raises the errors of `runner.run`."""
    cancellation = Cancellation()
    if console is None:
        return _follow(prepared, cancellation, gates)
    from runbook_runner.cli.ui.display import Display, print_gates, print_summary

    with Display(console, cancellation) as display:
        followed = _follow(prepared, cancellation, gates, display)
    outcome, files = followed.outcome, followed.seen.headline_first()
    notes = followed.seen.notes
    print_summary(console, outcome.trajectory, followed.problems, files, notes, outcome.folder)
    print_gates(console, followed.gates)
    return followed


def print_briefly(followed: Followed, problem: str | None) -> None:
    """What `--quiet` leaves: why the exit code is not 0, or the notes on what passed, each on a line."""
    folder = followed.outcome.folder
    said = [f"error: {folder}: {printable_output(problem)}"] if problem else []
    notes = () if problem else followed.seen.notes
    said += [f"warning: {folder}: {' '.join(printable_output(note).split())}" for note in notes]
    sys.stderr.writelines(f"{line}\n" for line in said)


def in_short(problems: Sequence[str]) -> str:
    """The first problems on one line."""
    more = [f"{len(problems) - _MOST_PROBLEMS} more"] if len(problems) > _MOST_PROBLEMS else []
    first = (" ".join(problem.split()).removesuffix(".") for problem in problems[:_MOST_PROBLEMS])
    return "; ".join([*first, *more]) + "."


def _follow(
    prepared: PreparedRun, cancellation: Cancellation, gates: Sequence[Gate], display: "Display | None" = None
) -> Followed:
    seen = Seen()
    readers: tuple[Reader, ...] = (seen, display) if display else (seen,)
    with interruptible(cancellation, display):
        outcome = run(prepared, readers, cancellation)
    return Followed(prepared, outcome, seen, outcome.reached(gates))


@contextmanager
def interruptible(cancellation: "Cancellation | Stopping", display: "Display | None" = None) -> Iterator[None]:
    """The first Ctrl-C cancels the run, which then collects its results; the second kills everything and exits. A
    terminal that is closed counts as one Ctrl-C, however often it signals, and is ignored under `nohup`."""

    def on_signal(number: int, _: object) -> None:
        if not cancellation.requested:
            cancellation.request()
        elif number != signal.SIGHUP:
            cancellation.abandon()
            if display:
                display.close()
            os._exit(ExitCode.INTERRUPTED)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
