"""Evaluation, judge: which of two results is better. Judges like what they are shown first: so each pair is shown in
both orders, and what is better in one of them only is better in neither."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from runbook_runner.core.criteria import Criteria
from runbook_runner.evaluation.judge.answer import Read, read_choices
from runbook_runner.evaluation.judge.items import MOST, Item, items_of
from runbook_runner.evaluation.judge.material import Material, why_refused
from runbook_runner.evaluation.judge.model import Judge, ask_twice
from runbook_runner.evaluation.judge.prompt import Nth, comparison_of

_OVERALL: Final = "overall"


class _Pair(NamedTuple):
    """One judgement, in both orders; the values are those of the first result."""

    there: Read
    back: Read

    def vote(self, key: str) -> float | None:
        """1: the first is better, -1: the second, 0: neither; `None`: an order has no answer."""
        if key not in self.there.scores or key not in self.back.scores:
            return None
        there, back = self.there.scores[key].value, -self.back.scores[key].value
        return there if there == back else 0.0

    def problems(self, key: str) -> Iterator[str]:
        yield from (read.problems[key] for read in (self.there, self.back) if key in read.problems)


def compare(judge: Judge, criteria: Criteria, first: Material, second: Material) -> dict[str, Any]:
    """The winner for each criterion and overall: `first`, `second`, `tie`, or `None` when there is no answer."""
    overall = Item(_OVERALL, "judge", _OVERALL, "Overall, for whoever has given the task")
    items = (*items_of(criteria)[: MOST - 1], overall)
    if problem := why_refused(first) or why_refused(second):
        read = Read({}, {item.key: problem for item in items})
        pairs = [_Pair(read, read)]
    else:
        pairs = [*_pairs(judge, items, first, second)]
    found = [_decided(item, pairs) for item in items]
    return {
        "model": judge.model,
        "samples": judge.samples,
        "winner": found[-1]["winner"],
        "errors": sum(one["winner"] is None for one in found),
        "criteria": found,
        "left_out": {"first": [*first.left_out], "second": [*second.left_out]},
    }


def _pairs(judge: Judge, items: Sequence[Item], first: Material, second: Material) -> Iterator[_Pair]:
    read = partial(read_choices, items=items)
    for number in range(1, judge.samples + 1):
        nth = Nth(number, judge.samples)
        there = ask_twice(judge.ask, comparison_of(items, judge.task, first, second, nth), read)
        if not there.is_reached:
            yield _Pair(there.read, Read({}, there.read.problems))
            return
        back = ask_twice(judge.ask, comparison_of(items, judge.task, second, first, nth), read)
        yield _Pair(there.read, back.read)
        if not back.is_reached:
            return


def _decided(item: Item, pairs: Sequence[_Pair]) -> dict[str, Any]:
    """A winner has more than half of the votes."""
    votes = [vote for pair in pairs if (vote := pair.vote(item.key)) is not None]
    problems = [problem for pair in pairs for problem in pair.problems(item.key)]
    won = (name for name, value in (("first", 1.0), ("second", -1.0)) if votes.count(value) * 2 > len(votes))
    winner = next(won, "tie") if votes else None
    reasons = [read.scores[item.key].reason for pair in pairs[:1] for read in pair if item.key in read.scores]
    return {
        "id": item.id,
        "name": item.name,
        "winner": winner,
        "votes": votes,
        "reasons": reasons,
        "message": problems[0] if winner is None and problems else "",
    }
