"""Bubblewrap sandbox: a control group for all of its processes, where this user may make one.

Version 2: beside the runner's own group, in one that was delegated to this user, as systemd does for a session
(Documentation/admin-guide/cgroup-v2.rst). Version 1, which takes root: below the runner's own group in each hierarchy.
"""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from runbook_runner.core.errors import SandboxError
from runbook_runner.sandbox.base import LimitHit, SandboxSpec
from runbook_runner.sandbox.limit_hits import counted_hits

MOUNT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_PERIOD_US = 100_000
_SOCKETS = "memory.kmem.tcp.limit_in_bytes"
"""In version 1 the memory of sockets counts by itself, that of UDP among it, and only once this is written
(`memcg1_tcpmem_active` in the kernel's mm/memcontrol-v1.h)."""
_OPTIONAL = ("memory.swap.max", "memory.memsw.limit_in_bytes", _SOCKETS)
"""A kernel may not count these."""
_REMOVE_S = 20.0

_FREEZE_S = 5.0


class _Orders(NamedTuple):
    freeze: str
    thaw: str
    told: str
    """The file that says whether it is frozen."""
    frozen: str


_FREEZERS = {
    "cgroup.freeze": _Orders("1", "0", "cgroup.events", "frozen 1"),
    "freezer.state": _Orders("FROZEN", "THAWED", "freezer.state", "FROZEN"),
}
"""Of version 2 and of version 1, by the file that takes the order."""

Values = Mapping[str, Mapping[str, object]]
"""Controller → file → what is written into it."""


@dataclass(frozen=True)
class Cgroup:
    folders: tuple[Path, ...]
    """One in version 2, one for each controller in version 1."""

    @property
    def joins(self) -> tuple[str, ...]:
        """The files a process writes itself into."""
        return tuple(str(folder / "cgroup.procs") for folder in self.folders)

    @property
    def counts_sockets(self) -> bool:
        return _is_v2() or any((folder / _SOCKETS).exists() for folder in self.folders)

    def hits(self, spec: SandboxSpec) -> tuple[LimitHit, ...]:
        """Returns what was hit so far."""
        return tuple(counted_hits(self._count, spec))

    def processes(self) -> Iterator[int]:
        """Yields those in it, whichever process of this machine has started them."""
        with suppress(OSError):
            yield from map(int, (self.folders[0] / "cgroup.procs").read_text("utf-8").split())

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Nothing in it runs meanwhile, where the kernel can do that. Raises SandboxError when that takes too long."""
        try:
            self._freeze()
            yield
        finally:
            self._thaw()

    def _freeze(self) -> None:
        until = time.monotonic() + _FREEZE_S
        for folder in self.folders:
            for file, orders in _FREEZERS.items():
                if (folder / file).exists():
                    (folder / file).write_text(orders.freeze, "utf-8")
                    while orders.frozen not in (folder / orders.told).read_text("utf-8"):
                        if time.monotonic() > until:
                            raise SandboxError("The processes of the sandbox don't stand still.")
                        time.sleep(0.002)

    def _thaw(self) -> None:
        for folder in self.folders:
            for file, orders in _FREEZERS.items():
                with suppress(OSError):
                    if (folder / file).exists():
                        (folder / file).write_text(orders.thaw, "utf-8")

    def remove(self) -> None:
        """Kills what is still in it, frozen or not, and waits for that."""
        self._thaw()
        until = time.monotonic() + _REMOVE_S
        for folder in self.folders:
            while folder.is_dir() and not _removed(folder) and time.monotonic() < until:
                time.sleep(0.02)

    def _count(self, file: str, key: str) -> int:
        for folder in self.folders:
            with suppress(OSError):
                words = (folder / file).read_text("utf-8").split()
                return int(words[words.index(key) + 1]) if key in words else 0
        return 0


def make(name: str, note: Path, *, memory_bytes: int, pids: int, cpus: float) -> Cgroup | None:
    """Returns `None` when this user may not make a group, or not with all of these limits. note: a file for `noted`,
    written before anything is made. Raises OSError when it can't be written."""
    values = _values(memory_bytes, pids, round(cpus * _PERIOD_US))
    places = _places(values)
    folders = tuple(dict.fromkeys(place / name for place in places.values()))
    note.write_text("\n".join(map(str, folders)), "utf-8")
    try:
        for folder in folders:
            folder.mkdir()
        for controller, files in values.items():
            for file, value in files.items():
                with suppress(*([OSError] if file in _OPTIONAL else [])):
                    (places[controller] / name / file).write_text(str(value), "utf-8")
    except (OSError, KeyError):
        Cgroup(folders).remove()
        return None
    return Cgroup(folders)


def noted(note: Path, name: str) -> Cgroup | None:
    """Returns the group of that name that another process made, whatever group that process was in; `None` when there
    is none."""
    lines: list[str] = []
    with suppress(OSError):
        lines = note.read_text("utf-8").splitlines()
    named = (folder for line in lines if (folder := Path(line)).name == name and folder.is_relative_to(MOUNT))
    there = tuple(folder for folder in named if folder.is_dir())
    return Cgroup(there) if there else None


def _values(memory_bytes: int, pids: int, quota_us: int) -> Values:
    if _is_v2():
        return {
            "memory": {"memory.max": memory_bytes, "memory.swap.max": 0},
            "pids": {"pids.max": pids},
            "cpu": {"cpu.max": f"{quota_us} {_PERIOD_US}"},
        }
    return {
        "memory": {
            "memory.limit_in_bytes": memory_bytes,
            "memory.memsw.limit_in_bytes": memory_bytes,
            _SOCKETS: memory_bytes,
        },
        "pids": {"pids.max": pids},
        "freezer": {},
        "cpu": {"cpu.cfs_period_us": _PERIOD_US, "cpu.cfs_quota_us": quota_us},
    }


def _places(values: Values) -> Mapping[str, Path]:
    """Returns the folder to make a group in for each controller; one that is missing is left out."""
    try:
        lines = [line.split(":", 2) for line in _OWN.read_text("utf-8").splitlines()]
    except OSError:
        return {}
    if _is_v2():
        own = next((path for _, names, path in lines if not names), "/")
        parent = MOUNT / own.strip("/")
        # A group with processes in it can't have children with limits; the root can.
        return dict.fromkeys(values, parent if own == "/" else parent.parent)
    return {
        controller: MOUNT / names / path.strip("/")
        for _, names, path in lines
        for controller in values
        if controller in names.split(",")
    }


def _is_v2() -> bool:
    return (MOUNT / "cgroup.controllers").exists()


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        with suppress(OSError, ValueError):
            for pid in (folder / "cgroup.procs").read_text("utf-8").split():
                os.kill(int(pid), signal.SIGKILL)
        return False
    return True
