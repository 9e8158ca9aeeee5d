"""Evaluation, checks: runs the code checks that are the engine's, one after the other, and says what came of each."""

import time
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from runbook_runner.core.apart.process import OnCancel
from runbook_runner.core.criteria import CodeCheck, Criteria
from runbook_runner.core.events import CheckFinished, Emit
from runbook_runner.core.settings import MAX_CHECK_TIMEOUT_S
from runbook_runner.evaluation.checks.builtins import builtin_answer
from runbook_runner.evaluation.checks.content import Ends
from runbook_runner.evaluation.entries import PLATFORM, Check
from runbook_runner.evaluation.outputs import ResultsFolder

_NOT_STARTED = (126, 127)
"""What a shell exits with that can't start a command."""
_Result = Literal["pass", "fail", "error"]
_TOLD = 2000
"""Characters of a text that a report keeps; of an output the last, which say what failed."""
LONGEST_OUTPUT = 64 << 10
"""Characters of an output, the last ones, that an event keeps."""


class Ran(NamedTuple):
    """What came of a command in the run's sandbox."""

    code: int | None
    output: str = ""
    """The end of it, without secrets."""
    problem: str = ""
    """Why there is no exit code that counts; empty where there is one."""
    raw: str = ""
    """As it was printed, with its secrets: only to be judged. Where `output` has a mark in their place, lines may be
    missing."""
    is_cut: bool = False
    """It has printed more, before this."""


RunCommand = Callable[[str, bool, float], Ran]
"""Runs a script in the run's sandbox: its code, whether the first command that fails ends it, seconds it may take."""


def run_checks(
    criteria: Criteria, results: ResultsFolder, command: RunCommand, on_cancel: OnCancel, emit: Emit
) -> tuple[Check, ...]:
    """One entry for each check that the agent does not run."""
    return tuple(_run_all(criteria, results, command, on_cancel, emit))


def _run_all(
    criteria: Criteria, results: ResultsFolder, command: RunCommand, on_cancel: OnCancel, emit: Emit
) -> Iterator[Check]:
    if criteria.problem:
        yield Check(kind="code_check", id="code_checks", status="error", message=criteria.problem)
    ends = Ends(min(criteria.checks.timeout_s, MAX_CHECK_TIMEOUT_S), on_cancel)
    for check in criteria.code_checks:
        if check.problem or check.executor != "agent":
            yield _run(check, results, command, ends, emit)


def _run(check: CodeCheck, results: ResultsFolder, command: RunCommand, ends: Ends, emit: Emit) -> Check:
    began, ran = time.monotonic(), Ran(None)
    if check.problem or (check.kind == "builtin" and check.builtin is None):
        status, message = _error(check.problem or "The block says nothing.")
    elif check.builtin:
        status, message = builtin_answer(check.builtin, results, ends)
    else:
        ran = command(check.code, True, ends.timeout_s)
        status, message = _answer(ran)
    emit(
        CheckFinished(
            id=check.id,
            name=check.name,
            status=status,
            message=message,
            seconds=round(time.monotonic() - began, 3),
            exit_code=ran.code,
            output=ran.output[-LONGEST_OUTPUT:],
        )
    )
    return Check(
        kind="code_check", id=check.id, name=check.name, status=status, message=message, details=_details(check, ran)
    )


def _details(check: CodeCheck, ran: Ran) -> dict[str, object]:
    if check.kind == "command":
        return {
            "runner": PLATFORM,
            "command": check.code[:_TOLD],
            "exit_code": ran.code,
            "stdout_tail": ran.output[-_TOLD:],
        }
    return {
        "runner": PLATFORM,
        **({"use": check.builtin.use, "files": check.builtin.files[:_TOLD]} if check.builtin else {}),
    }


def _answer(ran: Ran) -> tuple[_Result, str]:
    last = (ran.output.strip().splitlines() or [""])[-1][:500]
    if ran.problem:
        return _error(ran.problem)
    if ran.code == 0:
        return "pass", last
    said = f"exit code {ran.code}{': ' + last if last else ''}"
    return _error(f"a command could not be started; {said}") if ran.code in _NOT_STARTED else ("fail", said)


def _error(message: str) -> tuple[_Result, str]:
    return "error", message
