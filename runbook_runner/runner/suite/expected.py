"""Runner, suite: a case's expected files against the results of a run."""

from collections.abc import Sequence

from runbook_runner.evaluation.compare.folders import compare_folders
from runbook_runner.evaluation.compare.rule import Rule
from runbook_runner.evaluation.points import Point
from runbook_runner.runner.cancellation import Cancellation
from runbook_runner.runner.outcome import Outcome
from runbook_runner.runner.suite.plan import Case
from runbook_runner.trajectory.folders import RESULTS


def expected_points(
    case: Case, outcome: Outcome, rules: Sequence[Rule], cancellation: Cancellation
) -> tuple[Point, ...]:
    """One for each difference, or one that passes; none for a case without expected files. Raises CancelledError."""
    if case.expected is None:
        return ()
    assert outcome.clean, "what is told of the results is told without secrets"
    results, on_cancel = outcome.folder / RESULTS, cancellation.ends_with
    differences = compare_folders(case.expected, results, rules, clean=outcome.clean, on_cancel=on_cancel)
    if not differences:
        return (Point("expected", "expected", "pass"),)
    return tuple(Point("expected", one.path, "fail", one.message) for one in differences)
