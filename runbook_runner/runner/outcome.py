"""Runner: what came of a run, for its caller: the recorded trajectory, and what it was judged by."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from runbook_runner.core.criteria import Criteria
from runbook_runner.core.errors import ExitCode, InputError, RunbookError
from runbook_runner.core.events import NOTES, CheckFinished, Evaluated, Log, Usage
from runbook_runner.core.spec import RunSpec
from runbook_runner.evaluation.gates import Facts, Gate, Reached, reached
from runbook_runner.evaluation.points import Point, points_of
from runbook_runner.trajectory.fold import fold
from runbook_runner.trajectory.folders import SPEC_FILE
from runbook_runner.trajectory.models import RunbookOutputs, Trajectory
from runbook_runner.trajectory.store import read_events, write_fold


class Spent(NamedTuple):
    """What the model calls of a run have used, its judge's too."""

    cost_usd: float | None
    """`None`: not known."""
    tokens: int
    """Cached ones included."""
    calls: int


@dataclass(frozen=True)
class Outcome:
    trajectory: Trajectory
    folder: Path
    error: RunbookError | None
    """What ended the run early; `None` when it went through, whatever its verdict."""
    criteria: Criteria
    evaluated: Evaluated | None = None
    """`None`: the run did not come so far."""
    checks: tuple[CheckFinished, ...] = ()
    """Those that the engine has run."""
    not_copied: RunbookError | None = None
    """Why the results are not where they were to be copied."""
    clean: Callable[[str], str] | None = None
    """Removes the secrets that the run had from what is unpacked of its results, which could not be searched when they
    were collected; `None`: they are not known."""

    @property
    def outputs(self) -> RunbookOutputs:
        outputs = self.trajectory.steps["run"].outputs
        assert isinstance(outputs, RunbookOutputs)
        return outputs

    @property
    def spent(self) -> Spent:
        return spent_by(self.trajectory)

    def points(self, gates: Sequence[Reached] = ()) -> tuple[Point, ...]:
        """All that the run was judged by. gates: decide in the place of the verdict, if there are any."""
        error = str(self.error) if self.error else None
        return points_of(self.evaluated, self.checks, self.criteria, error, gates)

    def reached(self, gates: Iterable[Gate]) -> tuple[Reached, ...]:
        outputs, spent = self.outputs, self.spent
        facts = Facts(
            verdict=outputs.verdict,
            reasons=self.evaluated.reasons if self.evaluated else (),
            missing=tuple(outputs.missing_outputs),
            error=str(self.error) if self.error else None,
            metrics={
                "score": self.score,
                "cost": spent.cost_usd,
                "seconds": self.trajectory.steps["run"].duration_seconds,
                "tokens": spent.tokens,
                "calls": spent.calls,
            },
        )
        return reached(gates, facts)

    @property
    def score(self) -> float | None:
        """The mean of the scores of the judge that the engine has asked; `None`: it was not asked, or not all of them
        are there. What an agent says of its own results is a claim."""
        judged = self.evaluated and self.evaluated.judge
        score = judged.get("score") if isinstance(judged, dict) and not judged.get("errors") else None
        return float(score) if isinstance(score, int | float) else None

    @property
    def divergences(self) -> dict[str, int] | None:
        """Severity → how many requests differed so from the recorded ones; `None` when no recording answered."""
        if (replay := self.trajectory.attributes.params.get("replay")) is None:
            return None
        return {severity: replay["divergences"].get(severity, 0) for severity in ("minor", "major", "miss")}

    @property
    def exit_code(self) -> ExitCode:
        if self.error:
            return self.error.exit_code
        return ExitCode.PASS if self.outputs.verdict == "pass" else ExitCode.VERDICT_FAIL


def spent_by(trajectory: Trajectory) -> Spent:
    outputs, judge = trajectory.steps["run"].outputs, trajectory.attributes.params.get("judge")
    assert isinstance(outputs, RunbookOutputs)
    own, judged = outputs.usage, Usage.model_validate(judge["usage"]) if judge else Usage()
    costs = [one.cost_usd for one in (own, judged) if one.api_calls]
    return Spent(
        sum(cost for cost in costs if cost is not None) if costs and None not in costs else None,
        own.total_tokens + own.cache_read_tokens + own.cache_write_tokens + judged.all_tokens,
        own.api_calls + judged.api_calls,
    )


def spent_in(folder: Path) -> Spent:
    """By a run of this machine's own, wherever it has ended; nothing where that can't be read any more."""
    try:
        return spent_by(fold(read_events(folder)))
    except (InputError, OSError, ValidationError):
        return Spent(None, 0, 0)


def notes_in(folder: Path) -> tuple[str, ...]:
    """What a run of this machine's own says in this trajectory folder of results that otherwise look right."""
    with suppress(InputError):
        events = (recorded.event for recorded in read_events(folder))
        return tuple(event.message for event in events if isinstance(event, Log) and event.source in NOTES)
    return ()


def outcome_in(folder: Path, clean: Callable[[str], str]) -> Outcome | None:
    """Of a run of this machine's own that went to its end in this trajectory folder; `None` of one that did not."""
    try:
        events = [item.event for item in read_events(folder) if isinstance(item.event, CheckFinished | Evaluated)]
        spec = RunSpec.model_validate_json((folder / SPEC_FILE).read_bytes())
    except (InputError, OSError, ValidationError):
        return None
    checks = tuple(event for event in events if isinstance(event, CheckFinished))
    evaluated = next((event for event in events if isinstance(event, Evaluated)), None)
    trajectory = write_fold(folder)
    if trajectory.status != "completed" or evaluated is None:
        return None
    return Outcome(trajectory, folder, None, spec.criteria, evaluated, checks, clean=clean)
