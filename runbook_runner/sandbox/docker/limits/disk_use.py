"""Docker sandbox: how much a container has on disk: its own layer, its volumes, and files without a name.

The engine knows the size of the layer alone, and there an empty file counts nothing. For the rest a second container
looks, which sees the processes of the first: no program of the first one is believed, and none of it gets a right that
it does not have. That costs half a second, so where the engine's disk can be seen from here it is asked only once that
has filled up by half the limit.
"""

import os
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final, NamedTuple

from runbook_runner.core.errors import NotReadyError, SandboxError
from runbook_runner.sandbox.base import SandboxSpec
from runbook_runner.sandbox.docker.container import remove_container
from runbook_runner.sandbox.docker.creation import create_container
from runbook_runner.sandbox.docker.engine import BROKEN, Engine, engine_errors
from runbook_runner.sandbox.docker.exec_socket import STREAMS, Frames, start_exec
from runbook_runner.sandbox.held_files import File, mapped
from runbook_runner.sandbox.usage_watch import ENTRY

_UNSEEN_EVERY_S: Final = 30.0
"""Between two looks where the engine's disk can't be seen from here."""
_PATIENCE: Final = 3
"""How often what runs in the container may keep the second one, or the engine, from measuring."""
_LOOK_S = 30
_HELD_S: Final = 60
_MOST: Final = 16 << 20  # bytes of output
# Volumes are at /measured/NUMBER. Device numbers are those of stat(2). Of a process whose first thread has ended, the
# others alone show the memory.
_LOOK: Final = r"""
for tool in stat grep sort xargs du; do command -v $tool >/dev/null || { echo done; exit; }; done
stat -c 'device %d' /proc/1/root/ /measured/* 2>/dev/null
for volume in /measured/*; do [ -d "$volume" ] && du -sk "$volume"; done 2>/dev/null | while read -r kilobytes _; do
    echo "volume $kilobytes"
done
printf '%s\n' /proc/[0-9]*/task/[0-9]*/fd/[0-9]* /proc/[0-9]*/task/[0-9]*/exe |
    xargs stat -L -c 'file %h %f %d %i %b' 2>/dev/null | grep '^file 0 8' | sort -u
command -v find >/dev/null && command -v tr >/dev/null && for root in /proc/1/root/ /; do
    echo "entries $(find $root -xdev -print0 2>/dev/null | tr -cd '\000' | wc -c)"
done
for process in /proc/[0-9]*; do
    if { read -r _ <$process/maps; } 2>/dev/null; then echo $process/maps; else echo $process/task/[0-9]*/maps; fi
done | xargs grep -h '(deleted)$' 2>/dev/null | sort -u
echo done
"""


class DiskUse:
    """Measures one container."""

    def __init__(self, engine: Engine, spec: SandboxSpec):
        self._engine = engine
        self._limit = spec.disk_bytes
        self._least: int | None = None
        """The least that was on the engine's disk."""
        self._looked = 0.0
        self._failed = 0
        self._unmeasured = 0

    def begin(self) -> None:
        """To be called before anything runs in the container."""
        self._least = self._on_disk()

    def __call__(self, container: str) -> int:
        """Returns the bytes on disk; in the container's own layer a sparse file counts with its length. Raises
        SandboxError."""
        with engine_errors("measure the container"):
            found = self._engine.api.containers(all=True, size=True, filters={"id": container})
        if not found:
            return 0
        layer = int(found[0].get("SizeRw") or 0)
        self._unmeasured = self._unmeasured + 1 if layer < 0 else 0
        if layer < 0:  # the engine could not measure it, as where a path is too long
            return self._limit + 1 if self._unmeasured >= _PATIENCE else 0
        found_there = self._beside_layer(container) if self._may_hold_more() else _NOTHING
        return max(layer, found_there.entries * ENTRY) + found_there.beside

    def _on_disk(self) -> int | None:
        """Returns the bytes on the engine's disk, and `ENTRY` for each file; `None` when it can't be seen from here."""
        root = self._engine.info.get("DockerRootDir")
        if not root or not self._engine.is_local:
            return None
        try:
            seen = os.statvfs(root)
        except OSError:
            return None
        return (seen.f_blocks - seen.f_bfree) * seen.f_frsize + (seen.f_files - seen.f_ffree) * ENTRY

    def _may_hold_more(self) -> bool:
        now = self._on_disk()
        if now is None or self._least is None:
            return time.monotonic() - self._looked >= _UNSEEN_EVERY_S
        self._least = min(self._least, now)
        return now - self._least > self._limit // 2

    def _beside_layer(self, container: str) -> "_Found":
        self._looked = time.monotonic()
        # What runs in the container may end the second one, and the image's programs may print anything.
        with suppress(NotReadyError, SandboxError, ValueError, OverflowError, *BROKEN):
            said = _look(self._engine, container)
            if said[-1:] == [b"done"]:
                found = _sum(said)
                self._failed = 0
                return found
        self._failed += 1
        return _Found(self._limit + 1, 0) if self._failed >= _PATIENCE else _NOTHING


class _Found(NamedTuple):
    beside: int
    """Bytes beside the layer."""
    entries: int
    """How many files and folders the container has more than its image."""


_NOTHING: Final = _Found(0, 0)


def _look(engine: Engine, container: str) -> list[bytes]:
    """Returns the lines of what a second container sees. Raises NotReadyError, SandboxError, one of `BROKEN`."""
    about = engine.api.inspect_container(container)
    volumes = [mount["Name"] for mount in about["Mounts"] if mount.get("Type") == "volume"]
    name = f"runbook-look-{secrets.token_hex(6)}"
    try:
        look = create_container(
            engine,
            about["Image"],
            lambda options: _host_config(engine, container, volumes, options),
            entrypoint=["sleep"],
            command=[str(_HELD_S)],
            user="0",
            name=name,
            working_dir="/",
        )
        engine.api.start(look)
        return _lines(engine, look)
    finally:
        remove_container(engine, name)


def _host_config(engine: Engine, container: str, volumes: list[str], options: list[str]) -> Any:
    return engine.api.create_host_config(
        auto_remove=True,
        pid_mode=f"container:{container}",
        network_mode="none",
        cap_drop=["ALL"],
        # The image is not trusted, so none of these leads out of the processes that it sees: not DAC_READ_SEARCH, by
        # which files of the machine can be opened. Without SYS_PTRACE it could not look at those of other users.
        cap_add=["DAC_OVERRIDE", "SYS_PTRACE"],
        security_opt=["no-new-privileges", *options],
        binds={volume: {"bind": f"/measured/{at}", "mode": "ro"} for at, volume in enumerate(volumes)},
        mem_limit=256 << 20,
        pids_limit=64,
        nano_cpus=10**9,
    )


def _lines(engine: Engine, container: str) -> list[bytes]:
    made = engine.api.exec_create(container, ["sh", "-c", _LOOK], user="0")
    connection = start_exec(engine, made["Id"], timeout_s=_LOOK_S)
    until, said = time.monotonic() + _LOOK_S, bytearray()
    try:
        frames = Frames(connection)
        while (frame := frames.next())[0]:
            said += frame[1] if STREAMS.get(frame[0]) == "stdout" else b""
            if len(said) > _MOST or time.monotonic() > until:
                raise TimeoutError("it prints without end")
        return bytes(said).splitlines()
    finally:
        connection.close()


def _sum(lines: Iterable[bytes]) -> _Found:
    """Beside the layer are the volumes, and files without a name on the same devices: the memory of others is limited
    by the engine. Raises ValueError, OverflowError for lines of other programs."""
    total, devices, held = 0, set(), {}
    maps, entries = [], []
    for line in lines:
        match line.split():
            case [b"device", device]:
                devices.add(_number(device))
            case [b"volume", kilobytes]:
                total += _number(kilobytes) << 10
            case [b"file", _, _, device, inode, blocks]:
                held[File(_number(device), _number(inode))] = _number(blocks) * 512
            case [b"entries", text]:
                entries.append(_number(text))
            case _:
                maps.append(line)
    held = dict(mapped(maps)) | held
    beside = total + sum(size for file, size in held.items() if file.device in devices)
    return _Found(beside, max(0, entries[0] - entries[1]) if len(entries) == 2 else 0)


def _number(text: bytes) -> int:
    if not text.isdigit():
        raise ValueError("not a count")
    return int(text)
