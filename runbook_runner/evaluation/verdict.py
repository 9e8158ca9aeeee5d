"""Evaluation: the verdict. A run passes when its agent ended well, nothing is missing and its report agrees."""

from collections.abc import Iterable
from pathlib import Path

from runbook_runner.core import settings
from runbook_runner.core.declared import RequiredOutput
from runbook_runner.core.events import AgentFinished, Evaluated
from runbook_runner.evaluation.outputs import Lack, lacking_outputs
from runbook_runner.evaluation.report import read_report

AGENT_FAILED = "The agent did not end well"


def evaluate(results: Path, required: Iterable[RequiredOutput], agent: AgentFinished) -> Evaluated:
    """Reads the collected results folder. Success: the agent ended well and made every required output
    (contract §5.7); the verdict asks the report as well. The agent's end, if it is a reason, is the first one."""
    lacking = lacking_outputs(results, required)
    report = read_report(results)
    reasons = [] if agent.ended_well else [f"{AGENT_FAILED}: {agent.error or 'it was cancelled.'}"]
    reasons += [_why(path, lack) for path, lack in lacking.items()]
    body, passed = None, None
    if isinstance(report, str):
        reasons.append(report)
    elif report is not None:
        body, passed = report.body, report.passed
        reasons += report.reasons
    return Evaluated(
        verdict="fail" if reasons else "pass",
        success=agent.ended_well and not lacking,
        overall_passed=passed,
        missing_outputs=tuple(lacking),
        validation_report=body,
        reasons=tuple(reasons),
    )


def _why(path: str, lack: Lack) -> str:
    if lack == "elsewhere":
        return f"{path} is not in {settings.RESULTS}, so it can't be delivered."
    return f"{path} is {lack}."
