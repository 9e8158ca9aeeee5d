"""Runner: the limits that a sandbox ran into become events, and the cause of a failure that they explain."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from runbook_runner.core.events import AgentFinished, Emit, Log
from runbook_runner.core.spec import Limits
from runbook_runner.sandbox.base import Limit, LimitHit, Sandbox
from runbook_runner.sandbox.limit_hits import processes_hit

# Not cpus: a slow processor explains no failure, only how long something took.
_KINDS: Final[dict[Limit, str]] = {
    "memory": "out_of_memory",
    "processes": "out_of_processes",
    "open_files": "out_of_open_files",
    "disk": "disk_limit",
}
# errno(3) as the C library and Node spell it: the message to a process that has reached a limit of its own.
_FILES: Final = re.compile(rb"Too many open files|\bEMFILE\b")
_MEMORY: Final = re.compile(rb"Cannot allocate memory|\bENOMEM\b|\bMemoryError\b")
_PROCESSES: Final = re.compile(
    rb"[Cc]annot fork|fork: .{0,200}unavailable|spawn [^\n]{0,200}\bEAGAIN\b|can't start new thread"
)
_TAIL_BYTES: Final = 16 << 10


def with_limits(end: AgentFinished, sandbox: Sandbox, limits: Limits, log_folder: Path, emit: Emit) -> AgentFinished:
    """Returns the end as it was, or with the limit in front of its error. What the kernel counts is asked for only
    when the agent did not end well: an agent that got over the loss of one process knows of it, and asking a container
    takes a tenth of a second. log_folder: where the agent's output was written."""
    if end.ended_well:
        for hit in sandbox.limits_hit(measured=True):
            emit(Log(level="warning", source="sandbox", message=hit.message))
        return end
    counted = sandbox.limits_hit()
    known = {hit.limit for hit in counted}
    found = (*counted, *(hit for hit in _limits_in_output(log_folder, sandbox, limits) if hit.limit not in known))
    for hit in found:
        emit(Log(level="warning", source="sandbox", message=hit.message))
    causes = [hit for hit in found if hit.limit in _KINDS]
    if not causes or end.ended_by == "cancel":
        return end
    error = "\n".join([*(hit.message for hit in causes), *([end.error] if end.error else [])])
    return end.model_copy(update={"error": error, "error_kind": _KINDS[causes[0].limit]})


def _limits_in_output(log_folder: Path, sandbox: Sandbox, limits: Limits) -> Iterator[LimitHit]:
    """Yields the limits that no counter counts: the process that reached one says so at the end of its output."""
    holds, said = sandbox.holds(), b"".join(_tail(file) for file in log_folder.glob("*.log"))
    if holds["open_files"] == "each" and _FILES.search(said):
        yield LimitHit("open_files", f"A process ran out of open files ({limits.open_files} each).")
    if holds["processes"] == "together" and _PROCESSES.search(said):
        yield processes_hit(limits.pids)
    if holds["memory"] == "each" and _MEMORY.search(said):
        yield LimitHit("memory", f"A process ran out of memory ({limits.memory_bytes >> 20} MB each).")


def _tail(file: Path) -> bytes:
    with file.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
        return log.read()
