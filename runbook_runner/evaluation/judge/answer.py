"""Evaluation, judge: reads a judge's answer. What is not plainly a score of an item is none."""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from runbook_runner.core.asking.question import Answer
from runbook_runner.evaluation.judge.items import Item

_LONGEST: Final = 200_000
"""Characters of an answer. One that is longer is not used: what is behind them may be the judge's own score."""
_MOST_OBJECTS: Final = 200
"""JSON objects and opening braces of an answer; with more, it is not used."""
_QUOTE: Final = r"""["'“”‘’`]"""
_LONGEST_REASON: Final = 1000
_QUOTED: Final = 120
CHOICES: Final[Mapping[str, float]] = {"first": 1.0, "second": -1.0, "equal": 0.0}


class Score(NamedTuple):
    value: float
    """Of a checklist 1 for met, 0 for not met."""
    reason: str


class Read(NamedTuple):
    scores: Mapping[str, Score]
    """By the key of the item; only those that can be used."""
    problems: Mapping[str, str]
    """By the key of each other item: why not."""

    def mended_by(self, second: "Read", *, is_answer: bool) -> "Read":
        """With what a second answer to the same question says. is_answer: False: there was none, so that what was wrong
        with the first is still the reason."""
        scores = {**self.scores, **second.scores}
        problems = {**self.problems, **second.problems}
        if not is_answer:
            problems |= {key: f"{why} Asked again: {second.problems[key]}" for key, why in self.problems.items()}
        return Read(scores, {key: why for key, why in problems.items() if key not in scores})


class _UnusableError(Exception):
    """Nothing in the answer counts; the text says why."""


class _Object(NamedTuple):
    value: Mapping[str, Any]
    start: int
    """Its place in the text."""
    end: int


def read_scores(answer: Answer, items: Sequence[Item]) -> Read:
    return _read(answer, items, _score)


def read_choices(answer: Answer, items: Sequence[Item]) -> Read:
    """Of an answer that compares two results: the value of each is 1 where the first is better, -1 where the second is,
    0 where neither is."""
    return _read(answer, items, _choice)


def _read(answer: Answer, items: Sequence[Item], read_one: Callable[[Any, Item], Score | str]) -> Read:
    if problem := _unusable(answer):
        return Read({}, {item.key: problem for item in items})
    try:
        said = [_of_each(one.value, items, read_one) for one in _objects(answer.text, items)]
        if len({_values(read) for read in said}) > 1:
            raise _UnusableError("the judge's answer has several JSON objects with scores, which disagree.")
    except _UnusableError as error:
        return Read({}, {item.key: str(error) for item in items})
    return said[-1]


def _of_each(value: Mapping[str, Any], items: Sequence[Item], read_one: Callable[[Any, Item], Score | str]) -> Read:
    each = {item.key: read_one(value.get(item.key, value.get(item.id)), item) for item in items}
    return Read(
        {key: score for key, score in each.items() if isinstance(score, Score)},
        {key: problem for key, problem in each.items() if isinstance(problem, str)},
    )


def _values(read: Read) -> frozenset[tuple[str, float]]:
    return frozenset((key, score.value) for key, score in read.scores.items())


def _unusable(answer: Answer) -> str:
    if answer.problem:
        return f"the judge gave no answer: {answer.problem.removesuffix('.')}."
    if answer.stop == "refusal":
        return "the judge refused to answer."
    if answer.stop == "length":
        return "the judge's answer was cut off at its token limit."
    return "" if answer.text.strip() else "the judge's answer is empty."


def _objects(text: str, items: Sequence[Item]) -> Sequence[_Object]:
    """The JSON objects in the text, inside or outside of a fence, that say something of an item: at least one. A judge
    that thinks aloud may quote one of the results: so nothing else in the text may say something of an item, as a
    broken object does, or one within another. Raises _UnusableError."""
    names = {name for item in items for name in (item.key, item.id)}
    found = [one for one in _all_objects(text) if names & one.value.keys()]
    within = iter(found)
    one = next(within, None)
    for match in _keys(names).finditer(text):
        while one and one.end <= match.start():
            one = next(within, None)
        if one is None or match.start() < one.start:
            raise _UnusableError(f"the judge's answer names {match['name']} outside of a JSON object that can be read.")
    if not found:
        shown = " ".join(text.split())[:_QUOTED]
        raise _UnusableError(f"the judge's answer holds no JSON object with scores: {shown!r}.")
    return found


def _keys(names: Iterable[str]) -> re.Pattern[str]:
    """One of the names as the key of an object, also as Python, JavaScript or a JSON string would spell it."""
    name = f"(?P<name>{'|'.join(map(re.escape, names))})"
    return re.compile(rf"(?:{_QUOTE}[\s\\]*|\{{\s*){name}(?:[\s\\]*{_QUOTE})?\s*:", re.IGNORECASE)


def _all_objects(text: str) -> Iterator[_Object]:
    """Each that is not within another one. Raises _UnusableError."""
    if len(text) > _LONGEST:
        raise _UnusableError(f"the judge's answer is longer than {_LONGEST:,} characters.")
    decoder, at = json.JSONDecoder(object_pairs_hook=_with_unique_keys), text.find("{")
    for _ in range(_MOST_OBJECTS):
        if at < 0:
            return
        try:
            value, end = decoder.raw_decode(text, at)
            yield _Object(value, at, end)
        except (ValueError, RecursionError):
            end = at + 1
        at = text.find("{", end)
    if at >= 0:
        raise _UnusableError(f"the judge's answer has more than {_MOST_OBJECTS} JSON objects or opening braces.")


def _with_unique_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError: which of two scores of one item counts is not said."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError
    return value


def _score(given: Any, item: Item) -> Score | str:
    if given is None:
        return "the judge said nothing of it."
    if not isinstance(given, dict):
        given = {"met" if item.kind == "checklist" else "score": given}
    said = _reason(given)
    if item.kind == "checklist":
        met = given.get("met")
        return Score(float(met), said) if isinstance(met, bool) else f"`met` is {_shown(met)}, not true or false."
    value = _number(given.get("score"))
    if value is None:
        return f"its score is {_shown(given.get('score'))}, not a number."
    if not item.low <= value <= item.high:
        return f"its score of {value:g} is not from {item.low:g} to {item.high:g}."
    return Score(value, said)


def _choice(given: Any, _: Item) -> Score | str:
    if given is None:
        return "the judge said nothing of it."
    if not isinstance(given, dict):
        given = {"better": given}
    better = given.get("better")
    if not isinstance(better, str) or better.strip().lower() not in CHOICES:
        return f"`better` is {_shown(better)}, not one of {', '.join(CHOICES)}."
    return Score(CHOICES[better.strip().lower()], _reason(given))


def _reason(given: Mapping[str, Any]) -> str:
    reason = given.get("reason")
    return " ".join(reason.split())[:_LONGEST_REASON] if isinstance(reason, str) else ""


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _shown(value: Any) -> str:
    return "missing" if value is None else repr(value)[:_QUOTED]
