"""Room `runbook`: what an agent is told about the code checks of its runbook (contract §3.11): without it, it would run
all of them."""

from collections.abc import Iterable

from runbook_runner.core.criteria import CodeCheck, Criteria


def checks_note(criteria: Criteria) -> str:
    """A paragraph for the end of the mission; empty for a runbook without code checks."""
    own = [check for check in criteria.code_checks if check.executor == "agent" and not check.problem]
    others = [check for check in criteria.code_checks if check not in own]
    said = []
    if others:
        said.append(
            f"The code checks {_names(others)} are run for you, once you have finished: do not run them, and write no "
            "entry for them into `validation_report.json`."
        )
    if own:
        said.append(
            f"You carry out the code checks {_names(own)} yourself: report each with its id, as an entry of the kind "
            "`code_check`, in `validation_report.json`."
        )
    return f"\n\n---\n\n{' '.join(said)}\n" if said else ""


def _names(checks: Iterable[CodeCheck]) -> str:
    return ", ".join(f"`{check.id}`" for check in checks)
