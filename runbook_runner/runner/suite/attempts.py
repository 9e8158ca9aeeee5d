"""Runner, suite: a run that does not pass is tried again, and its agent told what failed, until one passes, the number
of attempts is reached, or the budget of all of them is used up. The best attempt counts."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from runbook_runner.core.errors import AgentError, CancelledError, InputError, RunbookError
from runbook_runner.core.events import AttemptOf
from runbook_runner.core.spec import RunSpec
from runbook_runner.evaluation.gates import Gate
from runbook_runner.evaluation.points import Point
from runbook_runner.runner.outcome import Outcome
from runbook_runner.runner.request.prepared_run import PreparedRun
from runbook_runner.runner.results.deliver import deliver, make_place

MOST: Final = 100
_MOST_TOLD, _LONGEST = 20, 500
_OF_BUDGET: Final = ("max_cost_usd", "max_tokens", "max_calls")

RunOne = Callable[[PreparedRun], Outcome]
"""Runs an attempt, and tells its user of it. Raises as `runner.run`."""


@dataclass(frozen=True)
class Attempt:
    number: int
    prepared: PreparedRun
    outcome: Outcome
    failing: tuple[Point, ...]
    """What decides and is not as it should be."""

    @property
    def passed(self) -> bool:
        return not self.failing


@dataclass(frozen=True)
class Attempts:
    made: tuple[Attempt, ...]
    """In their order; at least one."""
    ended: str | None = None
    """Why there are no more, when the best has not passed and the number is not reached."""

    @property
    def best(self) -> Attempt:
        return max(self.made, key=_rank)

    @property
    def cancelled(self) -> bool:
        return isinstance(self.made[-1].outcome.error, CancelledError)

    def with_best(self, outcome: Outcome) -> "Attempts":
        best = self.best
        made = (replace(one, outcome=outcome) if one is best else one for one in self.made)
        return replace(self, made=tuple(made))

    @property
    def why_best(self) -> str:
        best, others = self.best, [one for one in self.made if one is not self.best]
        if best.passed:
            return "it passed"
        if not others:
            return "it is the only one"
        for why, key in _RANKS:
            if all(key(best) > key(one) for one in others):
                return why
        return "no other was better"


def _of_error(attempt: Attempt) -> float:
    return -float(attempt.outcome.error is not None)


def _of_points(attempt: Attempt) -> float:
    return -float(len(attempt.failing))


def _of_score(attempt: Attempt) -> float:
    score = attempt.outcome.score
    return -math.inf if score is None else score


def _of_cost(attempt: Attempt) -> float:
    cost = attempt.outcome.spent.cost_usd
    return -math.inf if cost is None else -cost


_RANKS: Final[tuple[tuple[str, Callable[[Attempt], float]], ...]] = (
    ("it alone went to its end", _of_error),
    ("least failed in it", _of_points),
    ("it has the highest score", _of_score),
    ("it cost the least", _of_cost),
)


def _rank(attempt: Attempt) -> tuple[float, ...]:
    """The larger, the better; of equals the first."""
    return (float(attempt.passed), *(key(attempt) for _, key in _RANKS))


def require_attempts(most: int) -> None:
    """Raises InputError for a number that can't be."""
    if not 1 <= most <= MOST:
        raise InputError(f"--attempts must be from 1 to {MOST}.")


def try_until_passed(prepared: PreparedRun, most: int, gates: Sequence[Gate], run_one: RunOne) -> Attempts:
    """The results of the best attempt are copied to where those of the run were to be. Raises InputError for what can't
    be tried again, and what `run_one` raises at the first attempt."""
    require_attempts(most)
    if prepared.replay and most > 1:
        raise InputError("--attempts has no meaning with a recording: it has the answers of one run.")
    if (out := prepared.options.out) is None or most == 1:
        return _tried(prepared, most, gates, run_one)
    make_place(out)
    attempts = _tried(replace(prepared, options=replace(prepared.options, out=None)), most, gates, run_one)
    return attempts.with_best(deliver(attempts.best.outcome, out))


def _tried(prepared: PreparedRun, most: int, gates: Sequence[Gate], run_one: RunOne) -> Attempts:
    made = list[Attempt]()
    while True:
        try:
            attempt = _attempt(prepared, most, made, gates, run_one)
        except RunbookError as error:
            if not made:
                raise
            return Attempts(tuple(made), f"attempt {len(made) + 1} could not be made: {error}")
        made.append(attempt)
        if attempt.passed or len(made) == most:
            return Attempts(tuple(made))
        if ended := _hopeless(attempt) or _used_up(prepared.spec, made):
            return Attempts(tuple(made), ended)


def _attempt(
    prepared: PreparedRun, most: int, made: Sequence[Attempt], gates: Sequence[Gate], run_one: RunOne
) -> Attempt:
    number = len(made) + 1
    if made:
        best = Attempts(tuple(made)).best
        prepared = _after(prepared, AttemptOf(number=number, parent_trajectory_id=_id(best)), most, best, made)
    outcome = run_one(prepared)
    points = outcome.points(outcome.reached(gates))
    return Attempt(number, prepared, outcome, tuple(point for point in points if point.decides and point.is_bad))


def _id(attempt: Attempt) -> str:
    return attempt.outcome.trajectory.trajectory_id


def _after(prepared: PreparedRun, attempt: AttemptOf, most: int, best: Attempt, made: Sequence[Attempt]) -> PreparedRun:
    spec = prepared.spec
    note = f"\n\n---\n\nThis is attempt {attempt.number} of {most}; nothing of the earlier ones is there any more. "
    note += "What failed in the best of them, and must be right now:\n\n" + "".join(_told(best.failing))
    left = {name: most - _used(made, name) for name in _OF_BUDGET if (most := getattr(spec.limits, name)) is not None}
    limits = spec.limits.model_copy(update=left)
    changed = spec.model_copy(update={"note": note, "limits": limits})
    return replace(prepared, spec=changed, attempt=attempt)


def _told(failing: Sequence[Point]) -> Iterator[str]:
    for point in failing[:_MOST_TOLD]:
        message = " ".join((point.message or point.status).split())[:_LONGEST]
        yield f"- {point.id}: {message}\n"
    if (more := len(failing) - _MOST_TOLD) > 0:
        yield f"- and {more} more\n"


def _hopeless(attempt: Attempt) -> str | None:
    error = attempt.outcome.error
    if error is None or (isinstance(error, AgentError) and error.hint is None):
        return None
    if isinstance(error, CancelledError):
        return "it was cancelled"
    return f"another would end in the same way: {error.message}"


def _used_up(spec: RunSpec, made: Sequence[Attempt]) -> str | None:
    for name in _OF_BUDGET:
        most = getattr(spec.limits, name)
        if most is not None and _used(made, name) >= most:
            return f"the budget of all attempts (--{name.removesuffix('_usd').replace('_', '-')}) is used up"
    return None


def _used(made: Sequence[Attempt], limit: str) -> float:
    spent = [attempt.outcome.spent for attempt in made]
    if limit == "max_cost_usd":
        return sum(one.cost_usd or 0.0 for one in spent)
    return sum(one.calls if limit == "max_calls" else one.tokens for one in spent)
