"""Evaluation, judge: reads a judge's answer. What is not plainly a score of an item is none."""

import json
import math
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Final, NamedTuple

from runbook_runner.core.asking.question import Answer
from runbook_runner.evaluation.judge.items import Item

_LONGEST: Final = 200_000
"""Characters of an answer. One that is longer is not used."""
_THOUGHTS: Final = ("<think>", "</think>")
"""Around them, where a provider does not keep them apart."""
_FENCE: Final = "```"
_LONGEST_REASON: Final = 1000
_QUOTED: Final = 120
_ASKED: Final = frozenset(("reason", "score", "met", "better"))
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


def read_scores(answer: Answer, items: Sequence[Item]) -> Read:
    return _read(answer, items, _score)


def read_choices(answer: Answer, items: Sequence[Item]) -> Read:
    """Of an answer that compares two results: the value of each is 1 where the first is better, -1 where the second is,
    0 where neither is."""
    return _read(answer, items, _choice)


def _read(answer: Answer, items: Sequence[Item], read_one: Callable[[Any, Item], Score | str]) -> Read:
    try:
        if problem := _unusable(answer):
            raise _UnusableError(problem)
        value = _object(answer.text, {name for item in items for name in (item.key, item.id)})
    except _UnusableError as error:
        return Read({}, {item.key: str(error) for item in items})
    each = {item.key: _of_item(value, item, read_one) for item in items}
    return Read(
        {key: score for key, score in each.items() if isinstance(score, Score)},
        {key: problem for key, problem in each.items() if isinstance(problem, str)},
    )


def _of_item(value: Mapping[str, Any], item: Item, read_one: Callable[[Any, Item], Score | str]) -> Score | str:
    given = [value[name] for name in dict.fromkeys((item.key, item.id)) if value.get(name) is not None]
    if len(given) != 1:
        return "the judge said two things of it." if given else "the judge said nothing of it."
    if isinstance(given[0], dict) and (unasked := given[0].keys() - _ASKED):
        return f"the judge said {_shown(min(unasked))} of it, which was not asked for."
    return read_one(given[0], item)


def _unusable(answer: Answer) -> str:
    if answer.problem:
        return f"the judge gave no answer: {answer.problem.removesuffix('.')}."
    if answer.stop == "refusal":
        return "the judge refused to answer."
    if answer.stop == "length":
        return "the judge's answer was cut off at its token limit."
    return "" if answer.text.strip() else "the judge's answer is empty."


def _object(text: str, names: Set[str]) -> Mapping[str, Any]:
    """The JSON object that the answer is, in a fence or not, with keys of these names alone. A judge that thinks aloud,
    or leaves the quotes in a reason unescaped, may quote one of the results, and so take a score from the agent: so
    nothing is looked for in a text that is something else. Raises _UnusableError."""
    if len(text) > _LONGEST:
        raise _UnusableError(f"the judge's answer is longer than {_LONGEST:,} characters.")
    begin, end = _THOUGHTS
    text = (text.rpartition(end)[2] if text.lstrip().startswith(begin) else text).strip()
    if len(text) >= 2 * len(_FENCE) and text.startswith(_FENCE) and text.endswith(_FENCE):
        text = text.removeprefix(_FENCE).removesuffix(_FENCE).removeprefix("json").strip()
    try:
        value = json.loads(text, object_pairs_hook=_with_unique_keys)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        shown = " ".join(text[: 4 * _QUOTED].split())[:_QUOTED]
        raise _UnusableError(f"the judge's answer is not one JSON object and nothing else: {shown!r}.")
    if unasked := value.keys() - names:
        raise _UnusableError(f"the judge's answer has the key {_shown(min(unasked))}, which was not asked for.")
    return value


def _with_unique_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError: which of two scores of one item counts is not said."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError
    return value


def _score(given: Any, item: Item) -> Score | str:
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
