"""Trajectory: the one word for how a run ended, which the summary of a run, lists, pages and statistics use.

Without pydantic, which is slow. `status` and `verdict` are the contract's: how the run itself went, and what the
evaluation has found."""

from collections.abc import Mapping
from typing import Any, Final

UNKNOWN: Final = "unknown"
"""Also the status of an import that does not say how its run ended; in `trajectory.json`, whose statuses are those of
the contract, it is `completed`, and `attributes.params.outcome` says this word."""
STATUSES: Final = ("pending", "running", "completed", "failed", "cancelled", "archived", UNKNOWN)
OUTCOMES: Final = ("pass", "fail", "error", "cancelled", UNKNOWN, "pending", "running", "archived")
DAMAGED: Final = "damaged"
"""In lists: what the run's files say can't be read."""
FAILED: Final = ("fail", "error", "cancelled")
"""What `@last-failed` looks for."""
ABOUT: Final = """\
PASS: the agent ended well and the verdict is pass. FAIL: it ended well and the verdict is fail. ERROR: the agent
failed, was ended at a limit, or something of this machine did. CANCELLED: it was interrupted. UNKNOWN: there is no
verdict, as of an import that does not say how its run ended. RUNNING: it goes on; DEAD: no process of yours runs it.
ARCHIVED: put aside with `runbook runs label`. (provisional): some answers of the model are from before an edit of the
runbook.
"""


def outcome_of(status: str | None, verdict: str | None) -> str:
    """One of OUTCOMES; DAMAGED for a status that is not one. status: one of STATUSES."""
    if status == "completed":
        return verdict if verdict in ("pass", "fail") else UNKNOWN
    return {"failed": "error", None: DAMAGED}.get(status) or str(status)


def outcome_told(outcome: str, *, provisional: bool) -> str:
    """For people, as `PASS (provisional)`. outcome: one of OUTCOMES."""
    return outcome.upper() + (" (provisional)" if provisional and outcome in ("pass", "fail") else "")


def is_provisional(params: Mapping[str, Any]) -> bool:
    """Whether the agent got answers of the model that were recorded before its runbook was edited. params: of the
    attributes of a trajectory.json."""
    replay, sources = params.get("replay"), params.get("model_calls")
    if not isinstance(replay, dict) or not isinstance(sources, dict):
        return False
    return bool(replay.get("provisional") and sources.get("replay"))


def status_of(body: dict[str, Any]) -> Any:
    """body: of a trajectory.json, with its overlay."""
    status, attributes = body.get("status"), body.get("attributes")
    params = attributes.get("params") if isinstance(attributes, dict) else None
    is_unknown = status == "completed" and isinstance(params, dict) and params.get("outcome") == UNKNOWN
    return UNKNOWN if is_unknown else status
