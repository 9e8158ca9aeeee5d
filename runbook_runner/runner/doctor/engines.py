"""Runner, doctor: the sandboxes this machine can offer: the engine, user namespaces, networks, room on the disks."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runbook_runner.core.disk.private import private_folder
from runbook_runner.core.errors import NotReadyError, RunbookError
from runbook_runner.core.files import is_folder, why_closed
from runbook_runner.runner.doctor.machine import Finding, Machine, Status, error_finding
from runbook_runner.sandbox.backends import BACKENDS, POLICIES

if TYPE_CHECKING:
    from runbook_runner.sandbox.docker.engine import Engine

_GIB: Final = 1 << 30
_LITTLE: Final = 1 * _GIB
_TIGHT: Final = 5 * _GIB
_OLD_API: Final = (1, 41)  # Docker Engine 20.10, the oldest we test with


def sandboxes(machine: Machine) -> Iterator[Finding]:
    """Whether there is a sandbox that isolates."""
    working = [backend for backend in BACKENDS.values() if machine.error_of(backend) is None]
    ready = [backend.name for backend in working]
    isolating = [backend.name for backend in working if backend.isolates]
    if isolating:
        first, *others = isolating
        message = f"Runs are isolated by {first}" + (f"; {' and '.join(others)} works as well." if others else ".")
        yield Finding("sandboxes", "ok", message, facts={"ready": ready})
        return
    needs = " nor ".join(backend.needs for backend in BACKENDS.values() if backend.isolates)
    only = " or ".join(f"--sandbox {name}" for name in ready)
    yield Finding(
        "sandboxes",
        "fail",
        f"No sandbox here isolates: neither {needs} works. Only {only} does.",
        "Fix one of them, as said below.",
        {"ready": ready},
    )


def engine(machine: Machine) -> Iterator[Finding]:
    for backend in BACKENDS.values():
        if backend.has_engine and (error := machine.error_of(backend)):
            yield error_finding("engine", "warn", error)
    if found := machine.engine:
        try:
            yield _about(found)
        except RunbookError as error:
            yield error_finding("engine", "warn", error)


def _about(found: "Engine") -> Finding:
    info, version = found.info, found.version
    facts = {
        "url": found.url,
        "named_by": found.endpoint.origin or None,
        "product": found.product,
        "api_version": version.get("ApiVersion"),
        "rootless": found.rootless,
        "on_this_machine": found.is_local,
        "architecture": info.get("Architecture"),
        "cpus": info.get("NCPU"),
        "memory_bytes": info.get("MemTotal"),
        "cgroup_version": info.get("CgroupVersion"),
        "storage": info.get("Driver"),
    }
    user = "rootless" if found.rootless else "as root"
    message = f"{found.product} at {found.url}, {user}, {info.get('NCPU')} CPUs, {_size(info.get('MemTotal') or 0)}."
    if _numbers(str(version.get("ApiVersion"))) < _OLD_API:
        return Finding("engine", "warn", f"{message} It is older than we test with.", "Update it.", facts)
    return Finding("engine", "ok", message, facts=facts)


def limits(machine: Machine) -> Iterator[Finding]:
    """Whether the engine keeps those that take a control group."""
    from runbook_runner.sandbox.docker.limits.counted import holds

    found = machine.engine
    if not found:
        return
    kept: dict[str, str] = {
        limit: how for limit, how in holds(found).items() if limit in ("cpus", "memory", "processes")
    }
    if lost := [limit for limit, how in kept.items() if how != "together"]:
        alone = " (memory: of each process)" if kept["memory"] == "each" else ""
        fix = (
            "Use control groups version 2, delegated to its user: https://docs.docker.com/engine/security/rootless/tips/"
            if found.rootless
            else "Start the engine with control groups for these (`docker info` says what it lacks)."
        )
        message = f"The engine has no control group for {', '.join(lost)}: containers are not limited in them{alone}."
        yield Finding("limits", "warn", message, fix, kept)
    else:
        yield Finding("limits", "ok", "The engine limits each container's CPUs, memory and processes.", facts=kept)


def without_engine(machine: Machine) -> Iterator[Finding]:
    """The backends that need something else of this machine, each by its name."""
    if os.uname().sysname != "Linux":
        return
    for backend in BACKENDS.values():
        if backend.has_engine or not backend.needs:
            continue
        if error := machine.error_of(backend):
            yield error_finding(backend.name, "warn", error)
        else:
            yield Finding(backend.name, "ok", f"{backend.needs} work.")


def networks(machine: Machine) -> Iterator[Finding]:
    """Which policies each backend can keep."""
    working = [backend for backend in BACKENDS.values() if machine.error_of(backend) is None]
    facts = {backend.name: list(backend.policies) for backend in working}
    able = [backend.name for backend in working if backend.policies == POLICIES]
    if able:
        message = f"Every network policy can be kept, by {' and '.join(able)}."
        yield Finding("networks", "ok", message, facts=facts)
    else:
        yield Finding("networks", "warn", "Only the network policy full can be kept.", "See sandboxes.", facts)


def disk(machine: Machine) -> Iterator[Finding]:
    home = machine.settings.home
    try:
        machine.settings.require_home()
    except NotReadyError as error:
        yield error_finding("home", "fail", error)
    try:
        if is_folder(machine.settings.data):
            private_folder(machine.settings.data)
        if closed := why_closed(machine.settings.data):
            yield Finding("data", "fail", f"{closed}.", "Set RUNBOOK_DATA to a folder of yours.")
    except NotReadyError as error:
        yield error_finding("data", "fail", error)
    there = next(folder for folder in (home, *home.parents) if is_folder(folder))
    yield _room("disk.trajectories", there, f"for trajectories ({home})", "Remove old ones, or set RUNBOOK_HOME.")
    if closed := why_closed(there):
        yield Finding("home", "fail", f"{closed}.", "Set RUNBOOK_HOME to a folder of yours.")
    found = machine.engine
    root = Path(str(found.info.get("DockerRootDir") or "")) if found else None
    if found and found.is_local and root:
        try:
            yield _room("disk.images", root, f"for images ({root})", "`runbook snapshots prune`, `docker system prune`")
        except OSError:  # only root may look there
            yield Finding("disk.images", "ok", f"The room for images ({root}) can't be seen by this user.")


def _room(check: str, folder: Path, what: str, fix: str) -> Finding:
    """Raises OSError."""
    free = shutil.disk_usage(folder).free
    status: Status = "fail" if free < _LITTLE else "warn" if free < _TIGHT else "ok"
    message = f"{_size(free)} free {what}."
    return Finding(check, status, message, fix if status != "ok" else None, {"path": str(folder), "free_bytes": free})


def _size(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
