"""Evaluation, judge: what a judge decides, the criteria of the rubric and the items of the short form."""

from collections.abc import Iterator
from itertools import chain, count
from typing import Final, Literal, NamedTuple

from runbook_runner.core.criteria import Criteria, Criterion, Level, Rubric
from runbook_runner.core.ids import slug

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
    items = tuple(_items(criteria))
    keys = [f"c{number}" for number in range(1, len(items) + 1)]
    taken = {(item.kind, key) for item in items for key in keys}
    if criteria.rubric:
        taken.add(("checklist", slug(name_of_average(criteria.rubric))))
    for number, (key, item) in enumerate(zip(keys, items, strict=True), 1):
        wish = item.id or f"criterion-{number}"
        names = chain((wish,), (f"{wish}-{n}" for n in count(number)))
        own = next(name for name in names if (item.kind, name) not in taken)
        taken.add((item.kind, own))
        yield item._replace(key=key, id=own)


def name_of_average(rubric: Rubric) -> str:
    return f"Overall rubric average is at least {rubric.average}"


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
