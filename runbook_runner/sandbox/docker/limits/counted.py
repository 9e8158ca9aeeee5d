"""Docker sandbox: which limits an engine keeps, and which a container ran into."""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from docker.errors import APIError

from runbook_runner.core.errors import SandboxError
from runbook_runner.sandbox.base import Hold, Limit, LimitHit, SandboxSpec
from runbook_runner.sandbox.docker.engine import Engine, engine_errors
from runbook_runner.sandbox.docker.exec_socket import first_output
from runbook_runner.sandbox.limit_hits import counted_hits

# Control groups of version 2, then of version 1. Builtins only, one write: an image need not have more than `sh`.
_COUNTERS: Final = r"""
said=
for file in memory.events pids.events cpu.stat memory/memory.oom_control pids/pids.events cpu/cpu.stat; do
    [ -r "/sys/fs/cgroup/$file" ] || continue
    while read -r key value; do said="$said ${file##*/}/$key=$value"; done <"/sys/fs/cgroup/$file"
done
echo "$said"
"""


_COUNT: Final = re.compile(rb"(?<!\S)([a-z_./]{1,80}+)=([0-9]{1,18}+)(?!\S)")
_MOST: Final = 1 << 16  # bytes


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


def counts_sockets(engine: Engine) -> bool:
    """See `Sandbox.counts_sockets`. Engines do not set the limit that version 1 has for sockets (moby/moby#50990)."""
    return holds(engine)["memory"] == "together" and str(engine.info.get("CgroupVersion")) == "2"


def memory_each(engine: Engine, spec: SandboxSpec) -> int | None:
    """Returns the bytes of data that each process may have; `None` where the engine limits all of them together."""
    return spec.memory_bytes if holds(engine)["memory"] == "each" else None


def limits_hit(engine: Engine, container: str, spec: SandboxSpec) -> tuple[LimitHit, ...]:
    """Returns what was hit so far; nothing when the container, and its counters with it, is gone."""
    said = b""  # by a program of the container, which the agent may have replaced: data
    with suppress(APIError, SandboxError), engine_errors("ask the container for its limits"):
        said = first_output(engine, container, ["sh", "-c", _COUNTERS])
    counted = dict(_COUNT.findall(said[:_MOST]))
    return tuple(counted_hits(lambda file, key: int(counted.get(f"{file}/{key}".encode(), 0)), spec))
