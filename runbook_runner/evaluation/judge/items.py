"""Evaluation, judge: what a judge decides, the criteria of the rubric and the items of the short form."""

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from runbook_runner.core.criteria import Criteria, Criterion, Level, Rubric

MOST: Final = 100
"""Items that one judge is asked about."""


class Item(NamedTuple):
    key: str
    """What the question and its answer call it."""
    kind: Literal["judge", "checklist"]
    id: str
    """What a v2 report calls it."""
    name: str
    levels: tuple[Level, ...] = ()
    low: float = 0.0
    high: float = 1.0
    threshold: float | None = None
    """`None` for a checklist, whose items are met or not."""


def items_of(criteria: Criteria) -> tuple[Item, ...]:
    """Empty: a judge has nothing to decide. Each has an id of its own."""
    return tuple(_numbered(criteria))


def _numbered(criteria: Criteria) -> Iterator[Item]:
    seen = set[tuple[str, str]]()
    for number, item in enumerate(_items(criteria), 1):
        own = item.id or f"criterion-{number}"
        if (item.kind, own) in seen:
            own = f"{own}-{number}"
        seen.add((item.kind, own))
        yield item._replace(key=f"c{number}", id=own)


def _items(criteria: Criteria) -> Iterator[Item]:
    if criteria.rubric:
        yield from (_criterion(criterion, criteria.rubric) for criterion in criteria.rubric.criteria)
    if criteria.is_short_form:
        yield from (Item("", "checklist", item.id, item.text) for item in criteria.checklist)


def _criterion(criterion: Criterion, rubric: Rubric) -> Item:
    """A rubric that names one level alone begins with 1, as the others do, or with 0."""
    scores = [level.score for level in criterion.levels]
    low, high = min(scores), max(scores)
    if low == high:
        low = 1.0 if high > 1 else 0.0
    return Item("", "judge", criterion.id, criterion.name, criterion.levels, low, high, rubric.minimum)
