"""Bubblewrap sandbox: a control group for all of its processes, where this user may make one.

cgroup v1: below the runner's own group in each hierarchy, which takes root. v2: beside the runner's own group, in one
that was delegated to this user, as systemd does for a session (Documentation/admin-guide/cgroup-v2.rst).
"""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runbook_runner.sandbox.base import LimitHit, SandboxSpec

MOUNT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_CONTROLLERS = ("memory", "pids", "cpu")
_PERIOD_US = 100_000
_REMOVE_S = 20.0
_NOTABLE_S = 1.0


@dataclass(frozen=True)
class Cgroup:
    folders: tuple[Path, ...]
    """One in cgroup v2, one for each controller in v1."""

    @property
    def joins(self) -> tuple[str, ...]:
        """The files a process writes itself into."""
        return tuple(str(folder / "cgroup.procs") for folder in self.folders)

    def hits(self, spec: SandboxSpec) -> Iterator[LimitHit]:
        """What was hit so far."""
        if self._count("memory.events", "oom_kill") or self._count("memory.oom_control", "oom_kill"):
            yield memory_hit(spec.memory_bytes)
        if self._count("pids.events", "max"):
            yield processes_hit(spec.pids)
        waited = (self._count("cpu.stat", key) for key in ("throttled_time", "throttled_usec"))
        yield from cpus_hit(spec.cpus, *waited)

    def remove(self) -> None:
        """Ends who is still in it and waits for that."""
        until = time.monotonic() + _REMOVE_S
        for folder in self.folders:
            while folder.is_dir() and not _removed(folder) and time.monotonic() < until:
                time.sleep(0.02)

    def _count(self, file: str, key: str) -> int:
        for folder in self.folders:
            with suppress(OSError):
                words = (folder / file).read_text().split()
                return int(words[words.index(key) + 1]) if key in words else 0
        return 0


def memory_hit(limit: int) -> LimitHit:
    return LimitHit("memory", f"It ran out of memory ({limit >> 20} MB): the kernel killed a process.")


def processes_hit(limit: int) -> LimitHit:
    return LimitHit("processes", f"It ran out of processes ({limit}): no more could be started.")


def cpus_hit(cpus: float, v1_ns: int, v2_us: int) -> Iterator[LimitHit]:
    """v1_ns, v2_us: how long its processes had work and no time on a processor, as either version counts it."""
    seconds = v1_ns / 1e9 + v2_us / 1e6
    if seconds >= _NOTABLE_S:
        yield LimitHit("cpus", f"It was held to {cpus:g} cores: its processes waited {seconds:.0f} s for them.")


def make(name: str, note: Path, *, memory_bytes: int, pids: int, cpus: float) -> Cgroup | None:
    """`None` when this user may not make one, or not with all of these limits. note: a file for `noted`, written before
    anything is made. Raises OSError when it can't be."""
    quota = round(cpus * _PERIOD_US)
    places = _places()
    made: list[Path] = []
    note.write_text("\n".join(str(parent / name) for parent in set(places.values())))
    try:
        for parent in places.values():
            if parent / name not in made:
                (parent / name).mkdir()
                made.append(parent / name)
        if _is_v2():
            _write(made[0], {"memory.max": memory_bytes, "pids.max": pids, "cpu.max": f"{quota} {_PERIOD_US}"})
            _write(made[0], {"memory.swap.max": 0}, optional=True)
        else:
            _write(places["memory"] / name, {"memory.limit_in_bytes": memory_bytes})
            _write(places["memory"] / name, {"memory.memsw.limit_in_bytes": memory_bytes}, optional=True)
            _write(places["pids"] / name, {"pids.max": pids})
            _write(places["cpu"] / name, {"cpu.cfs_period_us": _PERIOD_US, "cpu.cfs_quota_us": quota})
    except (OSError, KeyError):
        Cgroup(tuple(made)).remove()
        return None
    return Cgroup(tuple(made))


def noted(note: Path, name: str) -> Cgroup | None:
    """The group of that name that another process made; where it is depends on the group that one was in. `None`: there
    is none."""
    lines: list[str] = []
    with suppress(OSError):
        lines = note.read_text().splitlines()
    named = (folder for line in lines if (folder := Path(line)).name == name and folder.is_relative_to(MOUNT))
    there = tuple(folder for folder in named if folder.is_dir())
    return Cgroup(there) if there else None


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        with suppress(OSError, ValueError):
            for pid in (folder / "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
        return False
    return True


def _is_v2() -> bool:
    return (MOUNT / "cgroup.controllers").exists()


def _places() -> Mapping[str, Path]:
    """Controller → folder to make a group in. Empty when there are none."""
    try:
        lines = [line.split(":", 2) for line in _OWN.read_text().splitlines()]
    except OSError:
        return {}
    if _is_v2():
        own = next((path for _, names, path in lines if not names), "/")
        parent = MOUNT / own.strip("/")
        # A group with processes in it can't have children with limits; the root can.
        return dict.fromkeys(_CONTROLLERS, parent if own == "/" else parent.parent)
    return {
        controller: MOUNT / names / path.strip("/")
        for _, names, path in lines
        for controller in _CONTROLLERS
        if controller in names.split(",")
    }


def _write(folder: Path, values: Mapping[str, object], *, optional: bool = False) -> None:
    for name, value in values.items():
        try:
            (folder / name).write_text(str(value))
        except OSError:
            if not optional:
                raise
