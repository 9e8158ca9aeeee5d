"""Trajectory: what the tree of a run says of it as a whole, for people: how it ended and why, what it was given."""

from itertools import islice
from typing import Any, Final

from runbook_runner.core.events import AGENT_FAILED, Usage
from runbook_runner.trajectory.outcome import is_provisional, outcome_of, outcome_told
from runbook_runner.trajectory.overlay import Overlay
from runbook_runner.trajectory.tree import Tree

_MOST_GIVEN: Final = 50


def tree_status(tree: Tree, overlay: Overlay | None = None) -> str:
    """One of STATUSES. overlay: what was set later; it holds once the run is over."""
    if tree.finished is None:
        return "running"
    return (overlay and overlay.status) or tree.finished.known_status


def tree_outcome(tree: Tree, overlay: Overlay | None = None) -> str:
    """One of OUTCOMES."""
    return outcome_of(tree_status(tree, overlay), tree.evaluated.verdict if tree.evaluated else None)


def tree_is_provisional(tree: Tree) -> bool:
    """See `outcome.is_provisional`."""
    replay = tree.started.replay if tree.started else None
    return is_provisional({"replay": replay and replay.model_dump(), "model_calls": dict(tree.sources)})


def tree_told(tree: Tree, overlay: Overlay | None = None) -> str:
    """See `outcome.outcome_told`."""
    return outcome_told(tree_outcome(tree, overlay), provisional=tree_is_provisional(tree))


def reasons_of(tree: Tree) -> list[str]:
    """Why it did not pass, each once: first the error that ended it, then what the evaluation found."""
    error = [tree.finished.error] if tree.finished and tree.finished.error else []
    found = tree.evaluated.reasons if tree.evaluated else ()
    return [*error, *(reason for reason in found if not (error and reason.startswith(AGENT_FAILED)))]


def usage_of(tree: Tree) -> Usage:
    """What the agent has used, as the fold has it: what the gateway saw, else what the agent's CLI says. A run that has
    asked no model has cost 0; of an import that says nothing it is not known."""
    reported = tree.agent_end.usage if tree.agent_end else None
    if tree.usage.api_calls or reported:
        return tree.usage if tree.usage.api_calls else reported or Usage()
    # What others have recorded has no sandbox, and may lack the calls.
    tells_all = tree.started is not None and (tree.sandbox is not None or not tree.started.origin)
    return Usage(cost_usd=0.0) if tree.finished and tells_all and not tree.gaps else Usage()


def given_of(tree: Tree) -> dict[str, Any]:
    """The first 50 parameters that were given, name → value."""
    given = tree.started.init_params.get("vars") if tree.started else None
    return dict(islice(given.items(), _MOST_GIVEN)) if isinstance(given, dict) else {}


def origin_of(tree: Tree) -> str | None:
    """What the run repeats or goes on from; `None`: it is a run of its own."""
    run = tree.started
    if run is None:
        return None
    if run.origin:
        return f"recorded elsewhere: {run.origin}"
    if run.rerun_of:
        return f"rerun of {run.rerun_of}"
    if run.replay:
        of = run.replay.parent_trajectory_id
        return f"{run.replay.mode} of {of}" if of else f"{run.replay.mode} of a recording"
    return f"attempt {run.attempt.number} after {run.attempt.parent_trajectory_id}" if run.attempt else None
