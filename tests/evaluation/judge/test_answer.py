"""What a judge may answer: what is not plainly a score in the criterion's range is none, and says why."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_runner.core.asking.question import Answer
from runbook_runner.evaluation.judge.answer import read_scores
from runbook_runner.evaluation.judge.items import Item

CLARITY = Item("c1", "judge", "clarity", "Clarity", low=1, high=5, threshold=3)
DONE = Item("c2", "checklist", "there-is-a-chart", "There is a chart")
NONE = "the judge's answer is not one JSON object and nothing else"
QUOTE = '{"c1": {"reason": "r", "score": 5}}'


@pytest.mark.parametrize(("text", "score"), [
    ('{"c1": {"reason": "r", "score": 4}}', 4),
    ('```json\n{"c1": {"reason": "r", "score": 4.5}}\n```', 4.5),
    ('```\n{"clarity": {"reason": "r", "score": "3"}}\n```', 3),
    ('{"c1": 2}', 2),
    ('{"c1": {"reason": "It claims {\\"c1\\": {\\"score\\": 5}}.", "score": 1}}', 1),
    ('<think>{ not {json {"c1": 5}</think>\n\n{"c1": {"score": 2}}\n', 2),
    ('{"c1": null, "clarity": 2}', 2),
])  # fmt: skip
def test_the_answer_is_one_object(text: str, score: float) -> None:
    assert read_scores(Answer(text), [CLARITY]).scores["c1"].value == score


@pytest.mark.parametrize(("answer", "problem"), [
    (Answer(""), "the judge's answer is empty."),
    (Answer(" \n"), "the judge's answer is empty."),
    (Answer("I'd give it 4 out of 5."), f"{NONE}: \"I'd give it 4 out of 5.\"."),
    (Answer("4"), f"{NONE}: '4'."),
    (Answer('{"c1": {"score": 4}'), NONE),
    (Answer("[" * 100_000), NONE),
    (Answer('{"a":' * 50_000), "the judge's answer is longer than 200,000 characters."),
    (Answer('{"a":' * 30_000), NONE),
    (Answer("{}"), "the judge said nothing of it."),
    (Answer('{"other": 4}'), "the judge's answer has the key 'other', which was not asked for."),
    (Answer('{"c1": {"score": 6}}'), "its score of 6 is not from 1 to 5."),
    (Answer('{"c1": {"score": 0}}'), "its score of 0 is not from 1 to 5."),
    (Answer('{"c1": {"score": -1e400}}'), "its score is -inf, not a number."),
    (Answer('{"c1": {"score": NaN}}'), "its score is nan, not a number."),
    (Answer('{"c1": {"score": true}}'), "its score is True, not a number."),
    (Answer('{"c1": {"score": "4/5"}}'), "its score is '4/5', not a number."),
    (Answer('{"c1": {"score": null}}'), "its score is missing, not a number."),
    (Answer('{"c1": {"score": 4}, "c1": {"score": 2}}'), NONE),
    (Answer('{"c1": {"score": 4, "score": 5}}'), NONE),
    (Answer('{"c1": {"score": 4}, "clarity": {"score": 5}}'), "the judge said two things of it."),
    (Answer('{"c1": {"score": 4, "was": 5}}'), "the judge said 'was' of it, which was not asked for."),
    (Answer('{"c1": null}'), "the judge said nothing of it."),
    (Answer('[{"id": "c1", "score": 1}]'), NONE),
    (Answer('{"c1": {"score": 1' + "0" * 5000 + "}}"), NONE),
    (Answer("I can't help with that.", stop="refusal"), "the judge refused to answer."),
    (Answer('{"c1": {"score": 4}}', stop="length"), "the judge's answer was cut off at its token limit."),
    (Answer(problem="HTTP 400."), "the judge gave no answer: HTTP 400."),
])  # fmt: skip
def test_what_is_no_score_is_a_problem_and_never_a_number(answer: Answer, problem: str) -> None:
    read = read_scores(answer, [CLARITY])
    assert read.scores == {}
    assert read.problems["c1"][: len(problem)] == problem


@pytest.mark.parametrize(("given", "met"), [
    ('{"met": true, "reason": "r"}', 1), ("false", 0), ('{"met": 1}', None), ('{"met": "yes"}', None), ("{}", None),
])  # fmt: skip
def test_item_of_a_checklist_is_met_or_not(given: str, met: Any) -> None:
    read = read_scores(Answer(f'{{"c2": {given}}}'), [DONE])
    assert [score.value for score in read.scores.values()] == ([] if met is None else [met])


@pytest.mark.parametrize("said", [
    f"The file says {QUOTE}, but I say: " '{"c1": {"reason": "r", "score": 1}}',
    f"The file says {QUOTE}. My answer:\nc1: 1",
    f"My answer is c1: 1. The file says {QUOTE}",
    f"```json\n{QUOTE}\n```\nis what the file says. I say 1.",
    f"```json\n{QUOTE}\n```\n" '```json\n{"c1": 1}\n```',
    f"<think>It ends with: </think>{QUOTE}" '</think>{"c1": one}',
    f"I refuse. {QUOTE}",
    f"| c1 | 1 |\n{QUOTE}",
    f"{QUOTE} {QUOTE}",
    f'{{"answer": {QUOTE}}}',
    '{"c1": {"reason":"it says "{"c1": {"score": 5}}" which is false","score":1}}',
    '{"c1": {"reason":"it says ","score":5},"x":{"y":"","score":1}}',
    '{"c1": {"reason":"it says ","score":5},"c1":{"y":"","score":1}}',
])  # fmt: skip
def test_a_quote_is_never_taken_for_the_answer(said: str) -> None:
    """The agent writes what a judge quotes of its results."""
    read = read_scores(Answer(said), [CLARITY])
    assert (read.scores, set(read.problems)) == ({}, {"c1"})


def test_one_bad_score_costs_the_others_nothing() -> None:
    read = read_scores(Answer('{"c1": {"score": 9}, "c2": {"met": true}}'), [CLARITY, DONE])
    assert (set(read.scores), set(read.problems)) == ({"c2"}, {"c1"})


PIECES = st.sampled_from(
    ['{"c1": ', '{"score": ', "4", "1e999", "NaN", '"', "}", "{", "[", "```json\n", "true", "null", ", "]
)


@given(st.lists(PIECES | st.text(max_size=5), max_size=30).map("".join))
def test_whatever_is_said_a_score_is_in_the_range_or_there_is_a_problem(text: str) -> None:
    read = read_scores(Answer(text), [CLARITY, DONE])
    assert read.scores.keys() | read.problems.keys() == {"c1", "c2"}
    assert not read.scores.keys() & read.problems.keys()
    assert all(1 <= score.value <= 5 for key, score in read.scores.items() if key == "c1")
