"""Runner: the limits a sandbox ran into, told, and named as the cause of a failure they explain."""

from collections.abc import Callable

from runbook_runner.events import AgentFinished, Emit, Log
from runbook_runner.sandbox import LimitHit

_KINDS = {"memory": "out_of_memory", "processes": "out_of_processes", "disk": "disk_limit"}


def with_limits(end: AgentFinished, hits: Callable[[], tuple[LimitHit, ...]], emit: Emit) -> AgentFinished:
    """The end as it was, or with the limit in front of its error. Asked only when the agent did not end well: an agent
    that got over the loss of one process has seen so itself, and asking takes a container a tenth of a second."""
    if end.error is None and end.ended_by == "exit":
        return end
    found = hits()
    for hit in found:
        emit(Log(level="warning", source="sandbox", message=hit.message))
    if not found or end.ended_by == "cancel":
        return end
    error = "\n".join([*(hit.message for hit in found), *([end.error] if end.error else [])])
    return end.model_copy(update={"error": error, "error_kind": _KINDS[found[0].limit]})
