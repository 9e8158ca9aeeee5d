"""Evaluation, judge: the model that is asked, and how: once more where its answer can't be used."""

from collections.abc import Callable
from typing import NamedTuple

from runbook_runner.core.asking.question import Answer, Ask, Question
from runbook_runner.evaluation.judge.answer import Read
from runbook_runner.evaluation.judge.prompt import repair


class Judge(NamedTuple):
    """Who is asked."""

    model: str
    samples: int
    ask: Ask
    task: str
    """What the agent was to do."""
    clean: Callable[[str], str] | None
    """Removes the secrets that the run had; `None`: they are not known, and nothing that is packed is unpacked."""
    to_app: Callable[[str], str] = str
    """Puts `/app` in the place of the folder that it was in the run's sandbox: two runs with the same results are the
    same question."""


class Found(NamedTuple):
    read: Read
    is_reached: bool
    """False: the model could not be asked, so that it is of no use to ask it anything else."""


def ask_twice(ask: Ask, question: Question, read: Callable[[Answer], Read]) -> Found:
    """The second time with what was wrong with the first answer, if anything was."""
    answer = ask(question)
    found = read(answer)
    if found.problems and not answer.problem:
        answer = ask(repair(question, answer.text, found.problems))
        found = found.mended_by(read(answer), is_answer=not answer.problem)
    return Found(found, not answer.problem)
