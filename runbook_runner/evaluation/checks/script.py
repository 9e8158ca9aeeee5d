"""Evaluation, checks: the verification script of a runbook of the first generation, run by the engine (contract §3.16):
it prints a line `PASS: …` or `FAIL: …` for each file, and ends well whatever it has found.

It may print what the agent has made, which must hide none of its own lines."""

import re
import time
from itertools import islice
from typing import Final, NamedTuple

from runbook_runner.core.criteria import Criteria
from runbook_runner.core.events import CheckFinished, Emit
from runbook_runner.core.settings import MAX_CHECK_TIMEOUT_S
from runbook_runner.core.text import counted
from runbook_runner.evaluation.checks.run import LONGEST_OUTPUT, RunCommand

ID = "verification-script"
_MOST: Final = 200
_TOLD: Final = 3
_PASS: Final = re.compile(r"^[ \t]*PASS:([^\n]*)", re.MULTILINE)
_FAIL: Final = re.compile(r"FAIL:([^\n]*)")
"""Anywhere in a line, as the text before may end without a line end; also in a sum, `FAIL: 0`: what
stands before it and behind it may be the agent's."""


class ScriptSaid(NamedTuple):
    passed: tuple[str, ...]
    failed: tuple[str, ...]
    """What stands behind `FAIL:`, in order."""
    unfinished: str = ""
    """Why it was not run to its end; empty when it was."""


def run_script(criteria: Criteria, command: RunCommand, emit: Emit) -> ScriptSaid | None:
    """`None`: there is no script."""
    script = criteria.verification
    if script is None:
        return None
    began = time.monotonic()
    ran = command(script.code, False, min(criteria.checks.timeout_s, MAX_CHECK_TIMEOUT_S))
    unfinished = ran.problem
    if not unfinished and ran.is_cut:
        unfinished = "it printed so much that its first lines are not known."
    if not unfinished and ran.code:
        unfinished = f"it ended with exit code {ran.code}."
    failed = _said(_FAIL, ran.output)
    if (hidden := len(_said(_FAIL, ran.raw)) - len(failed)) > 0:
        failed += (f"{counted(hidden, 'line')} with or between secrets",)
    said = ScriptSaid(_said(_PASS, ran.output), failed, unfinished)
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


def _said(pattern: re.Pattern[str], output: str) -> tuple[str, ...]:
    return tuple(found[1].strip() for found in islice(pattern.finditer(output), _MOST))
