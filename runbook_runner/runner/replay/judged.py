"""Runner: what a run was judged to be, as far as its repetition has to be judged in the same way."""

from collections.abc import Iterator
from typing import NamedTuple

from runbook_runner.core.criteria import Criteria
from runbook_runner.core.events import Evaluated
from runbook_runner.core.text import printable_name
from runbook_runner.evaluation.points import points_of
from runbook_runner.runner.replay.course import Course

_MOST_NAMED = 5


class Judged(NamedTuple):
    verdict: str | None
    """`None`: the run did not come so far."""
    failed: frozenset[str]
    """Required outputs that are not as they have to be, and ids of checks that failed."""

    def changes(self, now: "Judged") -> Iterator[str]:
        """What differs in the repetition, for people. A recording without a verdict says nothing against a pass."""
        if self.verdict is None and now.verdict != "fail":
            return
        if self.verdict != now.verdict:
            yield f"verdict {self.verdict or 'none'} then, {now.verdict or 'none'} now"
        if self.verdict is not None and now.verdict is not None:
            if new := now.failed - self.failed:
                yield f"failed now, but not then: {_named(new)}"
            if gone := self.failed - now.failed:
                yield f"failed then, but not now: {_named(gone)}"


def judged_in(course: Course) -> Judged:
    evaluated = course.one(Evaluated)
    if evaluated is None:
        return Judged(None, frozenset())
    points = points_of(evaluated, course.checks, Criteria(), None)
    bad = (point.id for point in points if point.is_bad and point.kind != "run")
    return Judged(evaluated.verdict, frozenset((*evaluated.missing_outputs, *bad)))


def _named(ids: frozenset[str]) -> str:
    first = ", ".join(printable_name(one[:200]) for one in sorted(ids)[:_MOST_NAMED])
    return f"{first} and {len(ids) - _MOST_NAMED} more" if len(ids) > _MOST_NAMED else first
