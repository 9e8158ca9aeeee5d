"""Docker sandbox: which limits a container ran into, as its own control group tells, and what it has on disk."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

from docker.errors import APIError

from runbook_runner.core.errors import SandboxError
from runbook_runner.sandbox.base import Hold, Limit, LimitHit, SandboxSpec
from runbook_runner.sandbox.docker.engine import Engine, engine_errors
from runbook_runner.sandbox.docker.exec_socket import first_output
from runbook_runner.sandbox.local.cgroup import cpus_hit, memory_hit, processes_hit

# cgroup v2, then v1. Builtins only, one write: an image need not have more than `sh`.
_COUNTERS: Final = r"""
said=
for file in memory.events pids.events cpu.stat memory/memory.oom_control pids/pids.events cpu/cpu.stat; do
    [ -r "/sys/fs/cgroup/$file" ] || continue
    while read -r key value; do said="$said ${file##*/}/$key=$value"; done <"/sys/fs/cgroup/$file"
done
echo "$said"
"""
_MEMORY: Final = ("memory.events/oom_kill", "memory.oom_control/oom_kill")
_PIDS: Final = "pids.events/max"


def holds(engine: Engine) -> Mapping[Limit, Hold]:
    """An engine without control groups of its own, as a rootless one may be, takes limits and drops them."""

    def kept(by: str) -> bool:
        return engine.groups and bool(engine.info.get(by, True))

    return {
        "cpus": "together" if kept("CpuCfsQuota") else "none",
        "memory": "together" if kept("MemoryLimit") else "each",
        "processes": "together" if kept("PidsLimit") else "none",
        "open_files": "each",
        "disk": "watched",
    }


def memory_each(engine: Engine, spec: SandboxSpec) -> int | None:
    """Bytes of data that each process may have, on an engine that limits no more than that."""
    return spec.memory_bytes if holds(engine)["memory"] == "each" else None


def limits_hit(engine: Engine, container: str, spec: SandboxSpec) -> tuple[LimitHit, ...]:
    """Nothing when the container is gone: then nobody knows any more."""
    said = b""
    with suppress(APIError, SandboxError), engine_errors("ask the container for its limits"):
        said = first_output(engine, container, ["sh", "-c", _COUNTERS])
    counted = dict(word.partition("=")[::2] for word in said.decode("ascii", "replace").split())
    return tuple(_hits(counted, spec))


def _hits(counted: dict[str, str], spec: SandboxSpec) -> Iterator[LimitHit]:
    if any(counted.get(key, "0") != "0" for key in _MEMORY):
        yield memory_hit(spec.memory_bytes)
    if counted.get(_PIDS, "0") != "0":
        yield processes_hit(spec.pids)
    waited = (int(counted.get(f"cpu.stat/{key}", "0")) for key in ("throttled_time", "throttled_usec"))
    yield from cpus_hit(spec.cpus, *waited)


def disk_used(engine: Engine, container: str) -> int:
    """Bytes in the container's own layer; a sparse file counts as long as it says it is. Raises SandboxError."""
    with engine_errors("measure the container"):
        found = engine.api.containers(all=True, size=True, filters={"id": container})
    return int(found[0].get("SizeRw") or 0) if found else 0
