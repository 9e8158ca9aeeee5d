"""Evaluation: the report of a run whose checks the engine runs: the agent's entries and the platform's, merged and
judged (contract §3.10). What the agent says of checks that it does not run counts for nothing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from statistics import fmean
from typing import Any

from runbook_runner.core.criteria import CodeCheck, Criteria
from runbook_runner.evaluation.entries import Check, read_entries

VERSION = 2


def merged(
    said: Mapping[str, Any] | str | None, criteria: Criteria, platform: Sequence[Check]
) -> tuple[dict[str, Any], Sequence[Check]]:
    """said: the agent's report, or why it can't be used; `None`: there is none. platform: one entry for each check that
    the engine has run, and for each criterion that its judge has scored. Returns the report that takes its place, and
    the entries of it."""
    checks = tuple(_checks(said, criteria, platform))
    body = dict(said) if isinstance(said, Mapping) else {}
    passed = not any(check.is_bad for check in checks)
    scores = [check.score for check in checks if check.kind == "judge" and check.score is not None]
    report = {
        **body,
        "version": VERSION,
        "verdict": "pass" if passed else "fail",
        "overall_passed": passed,
        "checks": [check.body() for check in checks],
        **({"overall_score": round(fmean(scores), 4)} if scores else {}),
        **_mirrors(checks),
    }
    return report, checks


def _checks(said: Mapping[str, Any] | str | None, criteria: Criteria, platform: Sequence[Check]) -> Iterator[Check]:
    """The agent's entries, with the platform's in the place of those with the same id or behind them."""
    by_agent = {check.id: check for check in criteria.code_checks if check.executor == "agent" and not check.problem}
    runs_all = criteria.generation == 1 and not criteria.code_checks
    own: dict[tuple[str, str], list[Check]] = {}
    for check in platform:
        own.setdefault((check.kind, check.id), []).append(check)
    is_judged = any(check.kind == "judge" for check in platform)
    reported = _reported(said)
    for check in reported:
        if (check.kind, check.id) in own:
            yield from own.pop((check.kind, check.id))
        elif check.kind == "judge" and is_judged:
            continue  # of a criterion that the rubric does not have
        elif check.kind != "code_check" or check.id in by_agent or runs_all:
            yield check
    yield from chain.from_iterable(own.values())
    told = {check.id for check in reported if check.kind == "code_check"}
    yield from (_unreported(check, criteria) for name, check in by_agent.items() if name not in told)


def _reported(said: Mapping[str, Any] | str | None) -> tuple[Check, ...]:
    if isinstance(said, Mapping):
        listed = said.get("checks")
        if isinstance(listed, list):
            return tuple(read_entries(listed))
        said = "its `checks` are no list." if "checks" in said else "it has no list of checks."
    return (
        Check(kind="step", id="report", name="The agent's report", status="error", message=said or "it is missing."),
    )


def _unreported(check: CodeCheck, criteria: Criteria) -> Check:
    return Check(
        kind="code_check",
        id=check.id,
        name=check.name,
        status="error" if criteria.strict else "skipped",
        message="the agent did not report it.",
    )


def _mirrors(checks: Iterable[Check]) -> dict[str, Any]:
    """What readers of v1 look for, derived from the checks."""
    checks = tuple(checks)
    judges = [check for check in checks if check.kind == "judge"]
    return {
        "stages": [
            {"name": check.id, "passed": not check.is_bad, "message": check.message}
            for check in checks
            if check.kind == "step"
        ],
        "results": {
            "pass": sum(check.status == "pass" for check in checks),
            "partial": sum(check.status == "skipped" for check in checks),
            "fail": sum(check.is_bad for check in checks),
        },
        **(
            {"rubric_scores": {judge.id: {"score": judge.score, "notes": judge.message} for judge in judges}}
            if judges
            else {}
        ),
    }
