"""Evaluation: the verdict. A run passes when its agent ended well, nothing is missing, the checks of the engine pass,
and the agent's report, which nothing contradicts, agrees."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_runner.core import settings
from runbook_runner.core.apart.process import OnCancel
from runbook_runner.core.criteria import Criteria
from runbook_runner.core.declared import RequiredOutput
from runbook_runner.core.events import AGENT_FAILED, AgentFinished, Emit, Evaluated, OutputFound
from runbook_runner.evaluation.checks.run import RunCommand, run_checks
from runbook_runner.evaluation.checks.script import ScriptSaid, run_script
from runbook_runner.evaluation.entries import Check
from runbook_runner.evaluation.merge import merged
from runbook_runner.evaluation.outputs import ResultsFolder, found_outputs
from runbook_runner.evaluation.report import REPORT, Claim, claim_of, in_short, is_v2, read_report

if TYPE_CHECKING:
    from runbook_runner.evaluation.judge.model import Judge


@dataclass(frozen=True)
class Evaluation:
    event: Evaluated
    report: dict[str, Any] | None
    """What takes the place of the agent's report in the results; `None`: its own stays."""


def evaluate(
    results: Path,
    required: Iterable[RequiredOutput],
    criteria: Criteria,
    agent: AgentFinished,
    command: RunCommand,
    on_cancel: OnCancel,
    emit: Emit,
    judge: "Judge | None" = None,
) -> Evaluation:
    """Reads the collected results and runs the checks of the runbook. Success: the agent ended well and made every
    required output (contract §5.7); the verdict asks the checks as well. The agent's end, if it is a reason, is the
    first one. judge: is asked when the agent has ended well; may raise what its `ask` raises."""
    required = tuple(required)
    folder = ResultsFolder(results)
    outputs = found_outputs(folder, required)
    lacking = [output for output in outputs if output.lack]
    said = read_report(results)
    checks = run_checks(criteria, folder, command, on_cancel, emit)
    script = run_script(criteria, command, emit)
    scores = None
    if judge and agent.ended_well:
        from runbook_runner.evaluation.judge.judge import judge_results  # few runs are judged

        scored = judge_results(judge, criteria, folder, required, on_cancel, emit)
        checks, scores = (*checks, *scored.checks), scored.body
    judged = _combined(said, criteria, checks, script)
    reasons = [] if agent.ended_well else [f"{AGENT_FAILED}: {agent.error or 'it was cancelled.'}"]
    reasons += map(lack_of, lacking)
    reasons += (*judged.claims, *judged.reasons)
    event = Evaluated(
        verdict="fail" if reasons else "pass",
        success=agent.ended_well and not lacking,
        overall_passed=judged.passed,
        missing_outputs=tuple(output.path for output in lacking),
        outputs=outputs,
        validation_report=judged.body,
        judge=scores,
        reasons=tuple(reasons),
        claims=tuple(judged.claims),
    )
    return Evaluation(event, judged.body if judged.is_merged else None)


def lack_of(output: OutputFound) -> str:
    """Why an output does not count, as a sentence."""
    if output.lack == "elsewhere":
        return f"{output.path} is not in {settings.RESULTS}, so it can't be delivered."
    return f"{output.path} is {output.lack}."


@dataclass(frozen=True)
class _Combined:
    """What the report comes to, with the checks of the engine."""

    passed: bool | None = None
    body: dict[str, Any] | None = None
    claims: Sequence[str] = ()
    """Reasons that the agent's report gives, or that contradict it."""
    reasons: Sequence[str] = ()
    """The others."""
    is_merged: bool = False


def _combined(
    said: dict[str, Any] | str | None, criteria: Criteria, checks: Sequence[Check], script: ScriptSaid | None
) -> _Combined:
    if criteria.generation == 2 or (isinstance(said, dict) and is_v2(said)):
        body, entries = merged(said, criteria, checks)
        reasons = (*_complaints(entries), *_script_reasons(script))
        return _Combined(body["overall_passed"], body, reasons=reasons, is_merged=True)
    if said is None:
        claim = Claim(None)
    else:
        claim = claim_of(said) if isinstance(said, dict) else Claim(None, (f"{REPORT}: {said}",))
    claims = (*claim.reasons, *_contradiction(claim, script))
    reasons = (*_complaints(checks), *_script_reasons(script))
    return _Combined(claim.passed, said if isinstance(said, dict) else None, claims, reasons)


def _complaints(checks: Sequence[Check]) -> Iterator[str]:
    failed = [check for check in checks if check.is_bad]
    return in_short((check.complaint for check in failed), len(failed), "check")


def _contradiction(claim: Claim, script: ScriptSaid | None) -> Iterator[str]:
    if script and script.failed and claim.passed:
        yield f"{REPORT} says overall_passed: true, and the verification script contradicts it."


def _script_reasons(script: ScriptSaid | None) -> Iterator[str]:
    if script and script.unfinished:
        yield f"The verification script was not run to its end: {script.unfinished}"
    if script and script.failed:
        yield from in_short((f"Verification script: {text}" for text in script.failed), len(script.failed), "line")
