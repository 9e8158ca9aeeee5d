"""Runner, suite: what an evaluation comes to, group by group and as a whole, also against an earlier one."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from runbook_runner.core.clock import now_iso
from runbook_runner.core.errors import InputError
from runbook_runner.core.files import read_found
from runbook_runner.core.invalid import validation_error
from runbook_runner.core.text import counted
from runbook_runner.evaluation.statistics import SequentialTest, p_of_difference, wilson
from runbook_runner.runner.suite.evaluate import Evaluated, Progress
from runbook_runner.runner.suite.row import Row
from runbook_runner.runner.suite.suite_file import Suite

SIGNIFICANT: Final = 0.05
_MAX_BYTES: Final = 100_000_000
_MOST_REASONS: Final = 3


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Totals(_Part):
    """Of a group, or of all."""

    runs: Annotated[int, Field(ge=0, le=1_000_000)]
    """That count."""
    passed: Annotated[int, Field(ge=0, le=1_000_000)]
    pass_rate: float | None
    """`None`: there are no runs."""
    low: float
    """With `high`: Wilson's interval of the pass rate, at 95 %."""
    high: float
    score: float | None
    """The mean; `None`: nothing was scored."""
    cost_usd: float | None
    """Of all these runs; `None`: not known."""
    tokens: float | None
    """The mean of a run, as for `seconds`."""
    seconds: float | None

    @model_validator(mode="after")
    def _passed_of_runs(self) -> Self:
        if self.passed > self.runs:
            raise ValueError("more runs have passed than were made")
        return self


class GroupSummary(Totals):
    group: str
    verdict: Literal["pass", "fail", "unknown"]
    """unknown: there were not enough runs."""
    why: tuple[str, ...] = ()
    """What failed in it, most often first."""
    notes: tuple[str, ...] = ()
    """What is to be known of the results of its runs, most often first."""


class Compared(_Part):
    """A group beside the same one of an earlier evaluation."""

    group: str
    before: Totals
    now: Totals
    p: float
    """How likely two equal pass rates differ so much by chance."""

    @property
    def is_worse(self) -> bool:
        return (self.now.pass_rate or 0.0) < (self.before.pass_rate or 0.0)

    @property
    def is_significant(self) -> bool:
        return self.p < SIGNIFICANT


class Summary(_Part):
    name: str
    made: str = ""
    """When, in UTC."""
    passed: bool
    kept: int = 0
    """Runs that were made before, of higher repeats than were asked for: they do not count, and are not forgotten."""
    ended: str | None
    """Why not all was run; `None` when it was."""
    resumed: int
    total: Totals
    groups: tuple[GroupSummary, ...]
    baseline: tuple[Compared, ...] = ()
    """The groups that are in both."""
    gone: tuple[str, ...] = ()
    """The groups that only the earlier evaluation has; they count as worse."""
    cells: tuple[Row, ...] = ()

    @property
    def regressions(self) -> tuple[Compared, ...]:
        return tuple(one for one in self.baseline if one.is_worse)

    @property
    def against_baseline(self) -> str:
        """Why it fails beside the earlier evaluation, one sentence; empty when it does not."""
        worse, gone = len(self.regressions), len(self.gone)
        told = [f"{counted(worse, 'group')} {'is' if worse == 1 else 'are'} worse"] if worse else []
        told += [f"{counted(gone, 'group')} of it {'is' if gone == 1 else 'are'} missing"] if gone else []
        return f"Against the baseline: {' and '.join(told)}." if told else ""


class _Earlier(BaseModel):
    """What is read of a JSON report."""

    model_config = ConfigDict(extra="ignore")

    groups: tuple[GroupSummary, ...]


def summarise(name: str, evaluated: Evaluated, baseline: Sequence[GroupSummary] = ()) -> Summary:
    suite = evaluated.plan.suite
    groups = tuple(_group(progress, suite) for progress in evaluated.groups)
    total = _totals([row for progress in evaluated.groups for row in progress.counted])
    compared = tuple(_compared(groups, baseline))
    gone = tuple(sorted({one.group for one in baseline} - {one.group for one in groups}))
    passed = all(group.verdict == "pass" for group in groups) and not (gone or any(one.is_worse for one in compared))
    cells = (progress.rows[repeat] for progress in evaluated.groups for repeat in sorted(progress.rows))
    return Summary(
        name=name,
        made=now_iso(),
        passed=passed and evaluated.ended is None,
        ended=evaluated.ended,
        resumed=evaluated.resumed,
        kept=evaluated.kept,
        total=total,
        groups=groups,
        baseline=compared,
        gone=gone,
        cells=tuple(cells),
    )


def _group(progress: Progress, suite: Suite) -> GroupSummary:
    rows = progress.counted
    totals = _totals(rows)
    notes = Counter(note for row in rows for note in row.notes)
    causes = Counter(f"{one.id}: {one.message}" if one.message else one.id for row in rows for one in row.failing)
    verdict = _verdict(totals, suite)
    unknown: tuple[str, ...] = ()
    if verdict == "unknown" and suite.until is not None and totals.runs == suite.repeats:
        unknown = (f"not known after {counted(totals.runs, 'run')}: give more repeats",)
    return GroupSummary(
        **totals.model_dump(),
        group=progress.group.key,
        verdict=verdict,
        why=(*unknown, *_most_often(causes)),
        notes=tuple(_most_often(notes)),
    )


def _most_often(told: Counter[str]) -> Iterator[str]:
    return (f"{count}× {one}" for one, count in told.most_common(_MOST_REASONS))


def _verdict(totals: Totals, suite: Suite) -> Literal["pass", "fail", "unknown"]:
    if suite.until is not None:
        side = SequentialTest.of(suite.until, suite.margin).side(totals.passed, totals.runs)
        return "unknown" if side is None else "pass" if side == "above" else "fail"
    if totals.runs < suite.repeats:
        return "unknown"
    return "pass" if (totals.pass_rate or 0.0) >= suite.pass_rate else "fail"


def _totals(rows: Sequence[Row]) -> Totals:
    passed = sum(row.passed for row in rows)
    costs = [row.cost_usd for row in rows]
    return Totals(
        runs=len(rows),
        passed=passed,
        **_rate(passed, len(rows)),
        score=_mean(rows, lambda row: row.score),
        cost_usd=None if None in costs or not costs else sum(cost for cost in costs if cost is not None),
        tokens=_mean(rows, lambda row: row.tokens),
        seconds=_mean(rows, lambda row: row.seconds),
    )


def _rate(passed: int, runs: int) -> dict[str, Any]:
    """The fields of totals that follow from these two."""
    return {"pass_rate": passed / runs if runs else None, **wilson(passed, runs)._asdict()}


def _mean(rows: Iterable[Row], of: Callable[[Row], float | None]) -> float | None:
    values = [value for row in rows if (value := of(row)) is not None]
    return round(fmean(values), 4) if values else None


def read_baseline(path: Path) -> tuple[GroupSummary, ...]:
    """Of an earlier evaluation's JSON report; its rates are computed again. Raises InputError."""
    content = read_found(path, "baseline", _MAX_BYTES)
    try:
        body = json.loads(content)
        groups = _Earlier.model_validate(body).groups
    except ValidationError as error:
        raise validation_error(error, str(path), hint="Give the JSON report of an earlier evaluation.") from error
    except (ValueError, RecursionError) as error:
        hint = "Give the JSON report of an earlier evaluation."
        raise InputError("This is no JSON.", where=str(path), hint=hint) from error
    return tuple(group.model_copy(update=_rate(group.passed, group.runs)) for group in groups)


def _compared(groups: Sequence[GroupSummary], baseline: Sequence[GroupSummary]) -> Iterable[Compared]:
    before: Mapping[str, GroupSummary] = {group.group: group for group in baseline}
    for now in groups:
        if (earlier := before.get(now.group)) and earlier.runs and now.runs:
            p = p_of_difference(now.passed, now.runs, earlier.passed, earlier.runs)
            yield Compared(group=now.group, before=_only_totals(earlier), now=_only_totals(now), p=p)


def _only_totals(group: GroupSummary) -> Totals:
    return Totals.model_validate(group.model_dump(include=set(Totals.model_fields)))


def as_json(summary: Summary) -> dict[str, Any]:
    body: dict[str, Any] = summary.model_dump(mode="json")
    for compared, one in zip(body["baseline"], summary.baseline, strict=True):
        compared |= {"is_worse": one.is_worse, "is_significant": one.is_significant}
    return body
