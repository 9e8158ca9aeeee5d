"""Evaluation, checks: the verification script of a runbook of the first generation, run by the engine (contract §3.16):
it prints a line `PASS: …` or `FAIL: …` for each file, and ends well whatever it has found."""

import time
from collections.abc import Iterable
from typing import NamedTuple

from runbook_runner.core.criteria import Criteria
from runbook_runner.core.events import CheckFinished, Emit
from runbook_runner.core.settings import MAX_CHECK_TIMEOUT_S
from runbook_runner.evaluation.checks.run import LONGEST_OUTPUT, RunCommand

ID = "verification-script"
_MOST = 200
_TOLD = 3


class ScriptSaid(NamedTuple):
    passed: tuple[str, ...]
    failed: tuple[str, ...]
    """What stands behind `FAIL:`, in order."""
    unfinished: str = ""
    """Why it was not run to its end; empty when it was."""


def run_script(criteria: Criteria, command: RunCommand, emit: Emit) -> ScriptSaid | None:
    """`None`: there is no script. Its lines count, whatever it exits with."""
    script = criteria.verification
    if script is None:
        return None
    began = time.monotonic()
    ran = command(script.code, False, min(criteria.checks.timeout_s, MAX_CHECK_TIMEOUT_S))
    lines = [line.strip() for line in ran.output.splitlines()]
    unfinished = ran.problem or ("it printed so much that its first lines are not known." if ran.is_cut else "")
    said = ScriptSaid(_behind("PASS:", lines), _behind("FAIL:", lines), unfinished)
    emit(
        CheckFinished(
            kind="script",
            id=ID,
            name="Verification Script",
            status="error" if unfinished else "fail" if said.failed else "pass",
            message=unfinished or "; ".join(said.failed[:_TOLD]),
            seconds=round(time.monotonic() - began, 3),
            exit_code=ran.code,
            output=ran.output[-LONGEST_OUTPUT:],
        )
    )
    return said


def _behind(mark: str, lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(line.removeprefix(mark).strip() for line in lines if line.startswith(mark))[:_MOST]
