"""Command line: `runbook run --attempts`: shows each attempt, and which one counts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from runbook_runner.cli.ui.follow import Followed, follow
from runbook_runner.core.text import printable_output
from runbook_runner.evaluation.gates import Gate
from runbook_runner.runner import Outcome, PreparedRun
from runbook_runner.runner.suite.attempts import Attempt, Attempts, try_until_passed

if TYPE_CHECKING:
    from rich.console import Console


def follow_attempts(
    prepared: PreparedRun, console: "Console | None", gates: Sequence[Gate], most: int
) -> tuple[Followed, Attempts]:
    """The best one, and all of them. Raises the errors of `runner.run`, and InputError."""
    shown = list[Followed]()

    def run_one(prepared: PreparedRun) -> Outcome:
        if console and prepared.attempt:
            console.print(f"Attempt {prepared.attempt.number} of {most}", style="bold")
        shown.append(follow(prepared, console, gates))
        return shown[-1].outcome

    attempts = try_until_passed(prepared, most, gates, run_one)
    if console and most > 1:
        _print(console, attempts)
    best = attempts.best
    return replace(shown[best.number - 1], outcome=best.outcome), attempts


def _print(console: "Console", attempts: Attempts) -> None:
    best = attempts.best
    if attempts.ended:
        console.print(printable_output(f"No further attempt: {attempts.ended}."), soft_wrap=True, markup=False)
    text = f"Attempt {best.number} of {len(attempts.made)} counts: {attempts.why_best}."
    console.print(text, style="bold", soft_wrap=True)


def described(attempts: Attempts) -> dict[str, Any]:
    best = attempts.best
    return {
        "best": best.number,
        "why": attempts.why_best,
        "ended": attempts.ended,
        "made": [_described(attempt) for attempt in attempts.made],
    }


def _described(attempt: Attempt) -> dict[str, Any]:
    outcome = attempt.outcome
    return {
        "number": attempt.number,
        "trajectory_id": outcome.trajectory.trajectory_id,
        "path": str(outcome.folder),
        "status": outcome.trajectory.status,
        "verdict": outcome.outputs.verdict,
        "passed": attempt.passed,
        "failing": [point.id for point in attempt.failing],
        "score": outcome.score,
        "cost_usd": outcome.spent.cost_usd,
    }
