"""Docker sandbox: how much a container has on disk: its own layer, its volumes, and files without a name.

The engine knows the size of the layer alone, and there an empty file counts nothing. For the rest a second container
looks, which sees the processes of the first: no program of the first one is believed, and none of it gets a right that
it does not have.
"""

import secrets
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from runbook_runner.core.errors import SandboxError
from runbook_runner.sandbox.base import SandboxSpec
from runbook_runner.sandbox.disk_use import ENTRY, taken_on
from runbook_runner.sandbox.docker.container import remove_container
from runbook_runner.sandbox.docker.creation import create_container
from runbook_runner.sandbox.docker.engine import Engine, engine_errors
from runbook_runner.sandbox.docker.exec_socket import STREAMS, Frames, start_exec
from runbook_runner.sandbox.docker.limits.standstill import standing_still
from runbook_runner.sandbox.held_files import File, mapped
from runbook_runner.sandbox.labels import Labels

_STILL_S: Final = 15.0
"""How long a container may stand still; as long it is waited for."""
_HELD_S: Final = 90
_LISTS_BYTES: Final = 256 << 20
_MOST: Final = 16 << 20  # bytes of output
_SAME_INODES: Final = ("overlay", "btrfs", "zfs")
"""Storage drivers with which a file of the image has the same inode in all its containers."""
# Volumes are at /measured/NUMBER. Device numbers are those of stat(2). Of a process whose first thread has ended, the
# others alone show the memory. What a container has of its own is what differs from the image in inode, room or time of
# change, which nobody can set: what it has removed of the image, or replaced by as much, gives it nothing.
_LOOK: Final = r"""
for tool in stat grep sort xargs du; do command -v $tool >/dev/null || { echo done; exit; }; done
stat -c 'device %d' /proc/1/root/ /measured/* 2>/dev/null
for volume in /measured/*; do [ -d "$volume" ] && du -sk "$volume"; done 2>/dev/null | while read -r kilobytes _; do
    echo "du $kilobytes"
done
printf '%s\n' /proc/[0-9]*/task/[0-9]*/fd/[0-9]* /proc/[0-9]*/task/[0-9]*/exe /proc/[0-9]*/task/[0-9]*/cwd \
    /proc/[0-9]*/task/[0-9]*/root | xargs stat -L -c 'file %h %d %i %b' 2>/dev/null | grep '^file 0 ' | sort -u
list() { find "$1" -xdev -print0 2>/dev/null | xargs -0 stat -c '%i %b %Z' 2>/dev/null | sort -u; }
tally() { cut -d ' ' -f 2 | sort | uniq -c | while read -r files blocks; do echo "$1 $files $blocks"; done; }
if command -v find comm cut uniq >/dev/null; then
    list / >/tmp/image
    list /proc/1/root/ >/tmp/container
    tally image </tmp/image
    tally container </tmp/container
    comm -13 /tmp/image /tmp/container | tally changed
    for volume in /measured/*; do [ -d "$volume" ] && list "$volume" | tally volume; done
fi
for process in /proc/[0-9]*; do
    if { read -r _ <$process/maps; } 2>/dev/null; then echo $process/maps; else echo $process/task/[0-9]*/maps; fi
done | xargs grep -h '(deleted)$' 2>/dev/null | sort -u
echo done
"""


class ContainerDisk:
    """Measures one container."""

    def __init__(self, engine: Engine, spec: SandboxSpec, awake: threading.Lock):
        """awake: held while the container is paused, and by who starts something there."""
        self._engine = engine
        self._labels = spec.labels
        self._awake = awake
        self._within = engine
        """While the container is paused, with little time."""
        self._container = ""
        self._look = ""
        """The name of the second container, which may still be there."""
        self._measuring = threading.Lock()
        self._closed = False

    def taken(self) -> int | None:
        """Returns what all have on the engine's disk, as `taken_on`; `None` when it can't be seen from here."""
        root = self._engine.info.get("DockerRootDir")
        if not root or not self._engine.is_local:
            return None
        try:
            return taken_on(root)
        except OSError:
            return None

    @contextmanager
    def standing_still(self, container: str) -> Iterator[None]:
        """For `measure`. Waiting for it, and what is done in it, takes seconds at most. Raises SandboxError, one of
        `BROKEN`."""
        if not self._awake.acquire(timeout=_STILL_S):
            raise SandboxError("The container can't stand still: something is started or ended in it.")
        try:
            with self._measuring, self._engine.within(_STILL_S) as within:
                if self._closed:
                    raise SandboxError("The sandbox is being stopped.")
                with standing_still(within, container):
                    self._within, self._container = within, container
                    yield
        finally:
            self._awake.release()

    def measure(self) -> int:
        """Returns the bytes on disk; in the container's own layer a sparse file counts with its length. Raises
        NotReadyError, SandboxError, TimeoutError."""
        layer = _layer(self._within, self._container)
        found = self._found()
        return max(layer, found.layer) + found.beside

    def least(self, container: str) -> int:
        """Returns the bytes of the container's own layer, as the engine knows them. Raises SandboxError."""
        with self._engine.within(_STILL_S) as within:
            return _layer(within, container)

    def close(self) -> None:
        """Returns when nothing is measured any more: within seconds. Raises SandboxError."""
        self._closed = True
        with self._measuring:
            self._remove_look()

    def _remove_look(self) -> None:
        if self._look:
            with self._engine.within(_STILL_S) as within:
                remove_container(within, self._look)
            self._look = ""

    def _found(self) -> "_Found":
        self._remove_look()
        self._look = f"runbook-look-{secrets.token_hex(6)}"
        try:
            # The image's programs may print anything.
            with engine_errors("measure the container"):
                said = _looked(self._within, self._container, self._look, self._labels)
                if said[-1:] != [b"done"]:
                    raise SandboxError("The container can't be measured: its image's programs don't do it.")
                driver = str(self._engine.info.get("Driver") or "")
                return _sum(said, same_inodes=any(name in driver for name in _SAME_INODES))
        except (ValueError, OverflowError) as error:
            raise SandboxError("The container can't be measured: its image's programs say something else.") from error
        finally:
            self._remove_look()


def _layer(engine: Engine, container: str) -> int:
    with engine_errors("measure the container"):
        found = engine.api.containers(all=True, size=True, filters={"id": container})
    size = int(found[0].get("SizeRw") or 0) if found else 0
    if size < 0:
        raise SandboxError("The engine can't measure the container, as where a path is too long.")
    return size


class _Found(NamedTuple):
    beside: int
    """Bytes beside the layer."""
    layer: int
    """Bytes that the container's own files and folders take; 0 where the image has no programs to tell."""


def _looked(engine: Engine, container: str, name: str, labels: Labels) -> list[bytes]:
    """Returns the lines of what a second container of that name sees. Raises NotReadyError, SandboxError, one of
    `BROKEN`."""
    about = engine.api.inspect_container(container)
    volumes = [mount["Name"] for mount in about["Mounts"] if mount.get("Type") == "volume"]
    look = create_container(
        engine,
        about["Image"],
        lambda options: _host_config(engine, container, volumes, options),
        labels=labels,
        entrypoint=["sleep"],
        command=[str(_HELD_S)],
        user="0",
        name=name,
        working_dir="/",
    )
    engine.api.start(look)
    return _lines(engine, look)


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
        # The programs are the image's, and what they write counts nowhere.
        read_only=True,
        tmpfs={"/tmp": f"size={_LISTS_BYTES}"},  # noqa: S108 - the container's
        mem_limit=2 * _LISTS_BYTES,
        pids_limit=64,
        nano_cpus=10**9,
    )


def _lines(engine: Engine, container: str) -> list[bytes]:
    made = engine.api.exec_create(container, ["sh", "-c", _LOOK], user="0")
    connection = start_exec(engine, made["Id"], timeout_s=engine.at_most(_STILL_S))
    said = bytearray()
    try:
        frames = Frames(connection)
        while (frame := frames.next())[0]:
            said += frame[1] if STREAMS.get(frame[0]) == "stdout" else b""
            engine.at_most(_STILL_S)
            if len(said) > _MOST:
                raise TimeoutError("it prints without end")
        return bytes(said).splitlines()
    finally:
        connection.close()


def _sum(lines: Iterable[bytes], *, same_inodes: bool) -> _Found:
    """Beside the layer are the volumes, and files without a name on the same devices: the memory of others is limited
    by the engine. Raises ValueError, OverflowError for lines of other programs."""
    volumes, devices, held = 0, set(), {}
    maps, tallied = [], Counter[bytes]()
    for line in lines:
        match line.split():
            case [b"device", device]:
                devices.add(_number(device))
            case [b"du", kilobytes]:
                volumes += _number(kilobytes) << 10
            case [b"file", _, device, inode, blocks]:
                held[File(_number(device), _number(inode))] = _number(blocks) * 512
            case [(b"image" | b"container" | b"changed" | b"volume") as what, files, blocks]:
                tallied[what] += _number(files) * max(_number(blocks) * 512, ENTRY)
            case _:
                maps.append(line)
    held = dict(mapped(maps)) | held
    beside = max(volumes, tallied[b"volume"]) + sum(size for file, size in held.items() if file.device in devices)
    return _Found(beside, tallied[b"changed"] if same_inodes else tallied[b"container"] - tallied[b"image"])


def _number(text: bytes) -> int:
    if not text.isdigit():
        raise ValueError("not a count")
    return int(text)
