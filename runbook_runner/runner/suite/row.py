"""Runner, suite: what came of one cell: a run of the matrix."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from runbook_runner.core.errors import RunbookError
from runbook_runner.evaluation.points import Point
from runbook_runner.runner.outcome import Outcome, notes_in
from runbook_runner.runner.suite.plan import Cell

_MOST_FAILING, _MOST_NOTES, _LONGEST = 50, 20, 500


class Failing(BaseModel):
    """Something that decides and is not as it should be."""

    model_config = ConfigDict(frozen=True)

    kind: str
    id: str
    message: str


class Row(BaseModel):
    model_config = ConfigDict(frozen=True)

    cell: str
    group: str
    repeat: int
    status: Literal["pass", "fail", "error"]
    """error: the run did not come to its end, or could not be made."""
    failing: tuple[Failing, ...] = ()
    notes: tuple[str, ...] = ()
    """What is to be known of its results, passed or not."""
    agent: str | None = None
    """With `model`: what the run has used; `None`: it could not be made, or its agent has no model."""
    model: str | None = None
    trajectory_id: str | None = None
    path: str | None = None
    """The trajectory's folder."""
    score: float | None = None
    cost_usd: float | None = None
    tokens: int = 0
    """Cached ones included."""
    calls: int = 0
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return self.status == "pass"


def row_of(cell: Cell, outcome: Outcome, points: Sequence[Point]) -> Row:
    """points: all that it was judged by."""
    spent, used = outcome.spent, outcome.trajectory.init_params
    failing = [point for point in points if point.decides and point.is_bad]
    return Row(
        cell=cell.key,
        group=cell.group.key,
        repeat=cell.repeat,
        status="error" if outcome.error else "fail" if failing else "pass",
        failing=tuple(
            Failing(kind=point.kind, id=point.id, message=" ".join(point.message.split())[:_LONGEST])
            for point in failing[:_MOST_FAILING]
        ),
        notes=tuple(" ".join(note.split())[:_LONGEST] for note in notes_in(outcome.folder)[:_MOST_NOTES]),
        agent=used.get("agent"),
        model=used.get("model"),
        trajectory_id=outcome.trajectory.trajectory_id,
        path=str(outcome.folder),
        score=outcome.score,
        cost_usd=spent.cost_usd,
        tokens=spent.tokens,
        calls=spent.calls,
        seconds=outcome.trajectory.steps["run"].duration_seconds or 0.0,
    )


def row_of_error(cell: Cell, error: RunbookError) -> Row:
    """For a run that could not be made."""
    failing = Failing(kind="run", id="run", message=str(error)[:_LONGEST])
    return Row(cell=cell.key, group=cell.group.key, repeat=cell.repeat, status="error", failing=(failing,))
