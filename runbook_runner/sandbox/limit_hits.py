"""Sandbox: which limits were hit, as the counters of a control group say; they have other names in version 1 and 2."""

from collections.abc import Callable, Iterator
from typing import Final

from runbook_runner.core.text import counted
from runbook_runner.sandbox.base import LimitHit, SandboxSpec

Count = Callable[[str, str], int]
"""File of a control group, key in it → the number behind the key; 0 when there is no such file or key."""
_NOTABLE_S: Final = 1.0


def counted_hits(count: Count, spec: SandboxSpec) -> Iterator[LimitHit]:
    if count("memory.events", "oom_kill") or count("memory.oom_control", "oom_kill"):
        message = f"It ran out of memory ({spec.memory_bytes >> 20} MB): the kernel killed a process."
        yield LimitHit("memory", message)
    if count("pids.events", "max"):
        yield processes_hit(spec.pids)
    waited_s = count("cpu.stat", "throttled_usec") / 1e6 + count("cpu.stat", "throttled_time") / 1e9
    if waited_s >= _NOTABLE_S:
        message = (
            f"It was held to at most {counted(spec.cpus, 'core')}: its processes waited {waited_s:.0f} s for them."
        )
        yield LimitHit("cpus", message)


def processes_hit(limit: int) -> LimitHit:
    return LimitHit("processes", f"It ran out of processes ({limit}): no more could be started.")
