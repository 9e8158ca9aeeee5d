"""Evaluation, judge: has the results judged, several times where that is asked for, and makes entries of a report of
it."""

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from statistics import fmean, median
from typing import Any, Final, Literal, NamedTuple

from runbook_runner.core.apart.process import OnCancel
from runbook_runner.core.criteria import Criteria, Rubric
from runbook_runner.core.declared import RequiredOutput
from runbook_runner.core.events import DOUBT, CheckFinished, Emit, Log
from runbook_runner.core.ids import slug
from runbook_runner.core.text import counted
from runbook_runner.evaluation.entries import PLATFORM, Check
from runbook_runner.evaluation.judge.answer import Read, read_scores
from runbook_runner.evaluation.judge.items import MOST, Item, items_of, name_of_average
from runbook_runner.evaluation.judge.material import Material, material_of, why_refused
from runbook_runner.evaluation.judge.model import Judge, ask_twice
from runbook_runner.evaluation.judge.prompt import Nth, question_of
from runbook_runner.evaluation.outputs import ResultsFolder

_NOTHING: Final = "there is no result that a judge could look at."


class Judged(NamedTuple):
    checks: tuple[Check, ...] = ()
    body: dict[str, Any] | None = None
    """As the event has it; `None`: nothing was judged."""


def judge_results(
    judge: Judge,
    criteria: Criteria,
    results: ResultsFolder,
    required: Iterable[RequiredOutput],
    on_cancel: OnCancel,
    emit: Emit,
) -> Judged:
    """One entry for each criterion, and one for the average of the rubric. May raise what `ask` raises."""
    items = items_of(criteria)
    if not items:
        return Judged()
    began, material = time.monotonic(), material_of(results, required, judge.to_app, judge.clean, on_cancel)
    if problem := _NOTHING if material.is_empty and not material.refused else why_refused(material):
        reads = [Read({}, {item.key: problem for item in items})]
    else:
        _tell_unseen(material, emit)
        reads = [*_samples(judge, items, material)]
        _tell_fewer(reads, judge.samples, emit)
    common = {"runner": PLATFORM, "model": judge.model}
    checks = [_entry(item, reads, common) for item in items]
    scores = [check.score for check in checks if check.score is not None]
    if criteria.rubric and criteria.rubric.criteria:
        checks.append(_average(criteria.rubric, scores, common))
    for check in checks:
        _tell(check, round(time.monotonic() - began, 3), emit)
    body = {
        "model": judge.model,
        "samples": judge.samples,
        "score": round(fmean(scores), 4) if scores else None,
        "errors": sum(check.status == "error" for check in checks),
        "checks": [check.body() for check in checks],
        "left_out": [*material.left_out],
    }
    return Judged(tuple(checks), body)


def _tell_unseen(material: Material, emit: Emit) -> None:
    if material.unseen:
        message = f"The judge was shown nothing of what is required: {', '.join(material.unseen)}."
        emit(Log(level="warning", message=message, source=DOUBT))


def _samples(judge: Judge, items: Sequence[Item], material: Material) -> Iterator[Read]:
    """A model that can't be reached is not asked any more."""
    asked = items[:MOST]
    over = {item.key: f"a judge is asked about {MOST} criteria at most." for item in items[MOST:]}
    for number in range(1, judge.samples + 1):
        question = question_of(asked, judge.task, material, Nth(number, judge.samples))
        found = ask_twice(judge.ask, question, partial(read_scores, items=asked))
        yield Read(found.read.scores, {**found.read.problems, **over})
        if not found.is_reached:
            return


def _tell_fewer(reads: Sequence[Read], asked: int, emit: Emit) -> None:
    """A score that rests on fewer answers than it was to."""
    usable = sum(bool(read.scores) for read in reads)
    if 0 < usable < asked:
        why = next((problem for read in reads for problem in read.problems.values() if not read.scores), "")
        message = f"The judge has given {usable} of {counted(asked, 'usable answer')}: {why}".removesuffix(": ")
        emit(Log(level="warning", message=message, source=DOUBT))


def _entry(item: Item, reads: Sequence[Read], details: dict[str, Any]) -> Check:
    scores = [read.scores[item.key] for read in reads if item.key in read.scores]
    problems = [read.problems[item.key] for read in reads if item.key in read.problems]
    values = [score.value for score in scores]
    details = {
        **details,
        "samples": values,
        **({"spread": max(values) - min(values)} if values else {}),
        **({"errors": problems} if problems and values else {}),
    }
    if not values:
        return _check(item, "error", problems[0], details)
    middle = median(values)
    reason = min(scores, key=lambda score: abs(score.value - middle)).reason
    if item.kind == "checklist":
        return _check(item, "pass" if middle > 0.5 else "fail", reason, details)  # half of them is not enough
    found = _check(item, "pass", reason, details)
    return found.model_copy(update={"score": middle, "max_score": item.high, "threshold": item.threshold}).judged()


def _check(item: Item, status: Literal["pass", "fail", "error"], message: str, details: dict[str, Any]) -> Check:
    return Check(kind=item.kind, id=item.id, name=item.name, status=status, message=message, details=details)


def _average(rubric: Rubric, scores: Sequence[float], details: dict[str, Any]) -> Check:
    """The contract has it as an item of the checklist (§3.10). It is not known while a criterion has no score."""
    name = name_of_average(rubric)
    if lacking := len(rubric.criteria) - len(scores):
        status: Literal["pass", "fail", "error"] = "error"
        message = f"{lacking} of {len(rubric.criteria)} criteria have no score."
    else:
        status = "pass" if fmean(scores) >= rubric.average else "fail"
        message = f"the average is {fmean(scores):.4g}."
    return Check(kind="checklist", id=slug(name), name=name, status=status, message=message, details=details)


def _tell(check: Check, seconds: float, emit: Emit) -> None:
    scored = f"{check.score:g} of {check.max_score:g}. " if check.score is not None else ""
    kind: Literal["judge", "checklist"] = "judge" if check.kind == "judge" else "checklist"
    status = check.status if check.status in ("pass", "fail") else "error"
    emit(
        CheckFinished(
            kind=kind, id=check.id, name=check.name, status=status, message=f"{scored}{check.message}", seconds=seconds
        )
    )
