"""Bubblewrap sandbox: namespaces of this machine's kernel, its programs read-only. Needs no daemon and no root.

A command sees `/usr`, a few files of `/etc`, the agent's program, and else only what belongs to the run: `/app`,
`/tmp`, its home. With the network policy `full` it shares this machine's network, loopback included, but
not its abstract unix sockets.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

from runbook_runner.core import settings
from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.programs import SYSTEM_PATH, find_program, version_of
from runbook_runner.sandbox.base import GatewayAddress, Hold, Limit, LimitHit, SandboxSpec
from runbook_runner.sandbox.held_files import shared_memory
from runbook_runner.sandbox.local import abstract_sockets, cgroup, machine_files, seccomp_filter
from runbook_runner.sandbox.local.folder_sandbox import FolderSandbox, language_variables
from runbook_runner.sandbox.local.process import Orders, check_variables
from runbook_runner.sandbox.local.programs import Tool, find_tools
from runbook_runner.sandbox.network.sockets import INSIDE, PROGRAMS, Sockets
from runbook_runner.sandbox.paths import CONFIG
from runbook_runner.sandbox.temp_folders import open_folder
from runbook_runner.sandbox.usage_watch import UsageWatch

HOME = "/home/sandbox"
TOOLS = "/opt/runbook"
_PATH = f"{TOOLS}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TOP = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
# The kernel lets the machine's root write these from inside the sandbox too, and with them name a program that the
# machine runs as root (proc_sys(5), core(5)), or take a disk away from it (/proc/scsi/scsi).
_PROC_READ_ONLY = tuple(
    f"/proc/{name}" for name in ("sys", "fs", "mtrr", "pressure", "scsi", "acpi", "asound", "driver")
)
# These show other users of the machine; the kernel does not separate them by namespace.
_PROC_HIDDEN = ("/proc/keys", "/proc/key-users", "/proc/timer_list", "/proc/sched_debug", "/proc/kcore")
# What a command can write to, by the folder of the run that is shown there.
_WRITABLE = {"etc": CONFIG, "tmp": "/tmp", "shm": "/dev/shm", "home": HOME, "app": settings.APP}  # noqa: S108
_BWRAP = "bwrap"
_GROUPS = "groups"
_SOCKETS = "sockets"
_DISABLE_USERNS = (0, 8)  # the first version that can

_COUNTS_APART = (5, 14)  # Linux: RLIMIT_NPROC counts by user namespace (user_namespaces(7)), but never the real root's

# $1 working folder, $2 processes or empty, $3 number of words of the forwarder's command; those; then the command.
# The limit of processes is -p in dash and ash, -u in bash.
_WRAPPER = """\
cwd=$1 processes=$2 words=$3
shift 3
if [ -n "$processes" ]; then ulimit -p "$processes" 2>/dev/null || ulimit -u "$processes" || exit 125; fi
if [ "$words" -gt 0 ]; then
    forwarder=
    while [ "$words" -gt 0 ]; do forwarder="$forwarder $1"; shift; words=$((words - 1)); done
    $forwarder >/dev/null || exit 125
fi
cd -- "$cwd" || exit 126
exec "$@"
"""


def require_bubblewrap() -> None:
    """Raises NotReadyError, with the command that helps."""
    if os.uname().sysname != "Linux":
        raise NotReadyError("bubblewrap is a Linux program.", hint="Use --sandbox docker.")
    if find_program(_BWRAP) is None:
        raise NotReadyError(
            "bubblewrap is not installed: there is no bwrap on this machine's PATH.",
            hint="Install it with `sudo apt-get install bubblewrap` (or your distribution's way).",
        )
    # Not all of /: a file system that another program unmounts in this moment would fail it.
    options = ("--unshare-all", "--unshare-user", "--die-with-parent", *_programs_of_the_machine())
    tried = subprocess.run(
        [_bwrap(), *options, "true"], env={"PATH": SYSTEM_PATH}, capture_output=True, text=True, errors="replace"
    )
    if tried.returncode != 0:
        raise NotReadyError(
            "bubblewrap can't make a sandbox on this machine.", hint=_userns_hint(), details=tried.stderr.strip()
        )


def _userns_hint() -> str:
    """Returns why user namespaces do not work, as far as the kernel tells, and what to do."""
    for name, off in (
        ("user.max_user_namespaces", "0"),
        ("kernel.unprivileged_userns_clone", "0"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1"),
    ):
        file = Path("/proc/sys", *name.split("."))
        if file.exists() and file.read_text("utf-8").strip() == off:
            on = {"user.max_user_namespaces": "15000", "kernel.unprivileged_userns_clone": "1"}.get(name, "0")
            return f"User namespaces are disabled here ({name} = {off}). Enable them: `sudo sysctl {name}={on}`."
    return "User namespaces seem to be forbidden here, as in most containers. Use --sandbox docker."


class BubblewrapSandbox(FolderSandbox):
    """Implements `Sandbox`. Use as a context manager."""

    backend = "bubblewrap"
    app = settings.APP

    def __init__(self, spec: SandboxSpec, *, folder: Path | None = None):
        super().__init__(spec, folder=folder)
        self._sockets = Sockets(spec.network, spec.on_event)
        self._tools: tuple[Tool, ...] = ()
        self._memory = UsageWatch(self._memory_hit, end=self._end_processes, most_pause_s=10.0)
        self._hidden = tuple(machine_files.hidden_files())
        self._scoped = not self._sockets.closed_in and abstract_sockets.can_be_refused(_bwrap())
        self._filter = seccomp_filter.program(unix=self._sockets.closed_in or self._scoped)
        self._group = cgroup.noted(folder / _GROUPS, folder.name) if folder else None
        if folder:
            self._tools = find_tools(spec.host_tools)
            self._sockets.share(folder / _SOCKETS)

    def localise(self, text: str) -> str:
        return text

    def gateway_host(self) -> GatewayAddress:
        return self._sockets.gateway if self._sockets.closed_in else super().gateway_host()

    def holds(self) -> Mapping[Limit, Hold]:
        group: Mapping[Limit, Hold] = {"cpus": "together", "memory": "together", "processes": "together"}
        alone: Mapping[Limit, Hold] = {"processes": "together"} if self._pids_alone() else {}
        return {**super().holds(), **(group if self._group else alone)}

    def counts_sockets(self) -> bool:
        return self._group is not None and self._group.counts_sockets

    def limits_hit(self, *, measured: bool = False) -> tuple[LimitHit, ...]:
        counted = self._group.hits(self._spec) if self._group and not measured else ()
        return (*super().limits_hit(), *self._memory.hits(), *counted)

    # --- FolderSandbox ------------------------------------------------------------------------------------------------

    @property
    def _app(self) -> str:
        return f"{self._root}/app"

    @property
    def _config(self) -> str:
        return f"{self._root}/etc"

    @property
    def _scratch(self) -> str:
        return self._root

    def _make(self) -> None:
        for name in _WRITABLE:
            open_folder(Path(self._root, name))
        self._tools = find_tools(self._spec.host_tools)
        if self._spec.ca_bundle:
            shutil.copy(self._spec.ca_bundle, self._path(settings.SANDBOX_CA_BUNDLE))
        if self._filter:
            Path(self._root, "seccomp").write_bytes(self._filter)
        self._sockets.open(Path(self._root, _SOCKETS))
        self._group = cgroup.make(
            Path(self._root).name,
            Path(self._root, _GROUPS),
            memory_bytes=self._spec.memory_bytes,
            pids=self._spec.pids,
            cpus=min(self._spec.cpus, os.cpu_count() or 1),
        )
        if self._group is None:
            self._memory.start()

    def _command(
        self, argv: Sequence[str], environment: dict[str, str], cwd: str, deadline_s: float
    ) -> tuple[list[str], Orders, Sequence[int]]:
        forwarder = self._forwarder()
        variables = _variables(environment)
        inherited = [variables, *([os.open(f"{self._root}/seccomp", os.O_RDONLY)] if self._filter else [])]
        command = [
            _bwrap(),
            *self._namespaces(),
            *self._mounts(),
            *("--args", str(variables)),
            *(["--seccomp", str(inherited[1])] if self._filter else []),
            "--",
            *("/bin/sh", "-c", _WRAPPER, "runbook", cwd, self._pids_alone(), str(len(forwarder)), *forwarder),
            *argv,
        ]
        orders = Orders(
            environment={},
            cwd="/",
            deadline_s=deadline_s,
            memory_bytes=None if self._group else self._spec.memory_bytes,
            open_files=self._spec.open_files,
            join=self._group.joins if self._group else (),
            enclosed=True,
            own_abstract_sockets=self._scoped,
        )
        return command, orders, inherited

    def _pids_alone(self) -> str:
        """Returns how many processes the sandbox's user namespace may have; empty when a control group counts them, or
        when neither can."""
        return str(self._spec.pids) if not self._group and os.getuid() != 0 and _kernel() >= _COUNTS_APART else ""

    def _environment(self) -> dict[str, str]:
        bundle = settings.SANDBOX_CA_BUNDLE if self._spec.ca_bundle else None
        trusted = dict.fromkeys(settings.CA_VARIABLES, bundle) if bundle else {}
        fixed = {"PATH": _PATH, "TERM": "dumb", "HOME": HOME, "TMPDIR": "/tmp"}  # noqa: S108 - the sandbox's own
        return {**language_variables(), **trusted, **self._sockets.environment, **fixed}

    def _still(self) -> AbstractContextManager[None]:
        return self._group.frozen() if self._group else super()._still()

    def _running(self) -> Iterator[int]:
        return self._group.processes() if self._group else super()._running()

    def _memory_hit(self) -> LimitHit | None:
        limit = self._spec.memory_bytes
        message = f"It ran out of memory ({limit >> 20} MB): it was ended."
        return LimitHit("memory", message) if self._memory_used() > limit else None

    def _memory_used(self) -> int:
        """Returns the bytes of memory that no process' own limit counts: what they share, mapped or by descriptor."""
        device = Path(self._root).stat().st_dev
        by_descriptor = sum(size for file, size in self._held().items() if file.device != device)
        return max(by_descriptor, sum(map(shared_memory, self._running())))

    def _release(self) -> None:
        self._memory.stop()
        self._sockets.close()
        if self._group:
            self._group.remove()

    # --- bwrap(1) -----------------------------------------------------------------------------------------------------

    def _namespaces(self) -> Iterator[str]:
        yield from ("--unshare-all", "--unshare-user", "--hostname", "sandbox", "--cap-drop", "ALL")
        yield from ("--die-with-parent", "--new-session")
        if not self._sockets.closed_in:
            yield "--share-net"
        if _version() >= _DISABLE_USERNS:
            yield "--disable-userns"

    def _mounts(self) -> Iterator[str]:
        """Later mounts lie on top of earlier ones."""
        yield from (*_programs_of_the_machine(), "--dev", "/dev")
        for place in _PROC_READ_ONLY:
            yield from ("--ro-bind-try", place, place)
        for place in _PROC_HIDDEN:
            if Path(place).exists():
                yield from ("--ro-bind", "/dev/null", place)
        for place in machine_files.SHOWN:
            yield from ("--ro-bind-try", place, place)
        for place, is_folder in self._hidden:
            yield from ("--tmpfs", place, "--remount-ro", place) if is_folder else ("--ro-bind", "/dev/null", place)
        yield from ("--remount-ro", "/dev")
        for name, place in _WRITABLE.items():
            yield from ("--bind", f"{self._root}/{name}", place)
        yield from ("--symlink", "/tmp", "/var/tmp")  # noqa: S108
        yield from self._tool_mounts()
        if self._sockets.folder:
            yield from ("--ro-bind", str(self._sockets.folder), INSIDE)
            yield from ("--ro-bind", str(PROGRAMS), f"{TOOLS}/forward")
        yield from ("--remount-ro", "/")

    def _tool_mounts(self) -> Iterator[str]:
        """What a command has written to a folder, such as a link, must not lead bwrap elsewhere: places below it lie in
        a file system of their own."""
        places = [place for tool in self._tools for place in tool.needs]
        owns = dict.fromkeys(own for place in places if (own := _own(Path(place))))
        for own in owns:
            yield from ("--tmpfs", own)
        for place in places:
            yield from ("--ro-bind", place, place)
        for own in owns:
            yield from ("--remount-ro", own)
        for tool in self._tools:
            yield from ("--symlink", tool.program, f"{TOOLS}/bin/{tool.name}")

    def _forwarder(self) -> tuple[str, ...]:
        """Raises NotReadyError without a Python that the sandbox can see."""
        if not self._sockets.forwards:
            return ()
        if not Path("/usr/bin/python3").exists():
            raise NotReadyError(
                "bubblewrap's network policies need a Python in /usr/bin.", hint="`sudo apt-get install python3`."
            )
        return ("/usr/bin/python3", "-I", "-S", f"{TOOLS}/forward/forward.py", *self._sockets.forwards)


def _own(place: Path) -> str | None:
    """Returns the folder directly in a writable one that the place is in, or is; `None` when it is in none. Raises
    NotReadyError for a file directly in a writable folder."""
    above = next((folder for folder in map(Path, _WRITABLE.values()) if place.is_relative_to(folder)), None)
    if above is None:
        return None
    if place.parent == above and not place.is_dir():
        raise NotReadyError(f"bubblewrap can't show the agent {place}.", hint="Install it into a folder of its own.")
    return str(Path(above, *place.relative_to(above).parts[:1]))


def _programs_of_the_machine() -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr", "--proc", "/proc")
    for name in _TOP:
        yield from _as_on_host(Path("/", name))


def _as_on_host(path: Path) -> Iterator[str]:
    if path.is_symlink():
        yield from ("--symlink", str(path.readlink()), str(path))
    elif path.is_dir():
        yield from ("--ro-bind", str(path), str(path))


@cache
def _kernel() -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))


def _variables(environment: Mapping[str, str]) -> int:
    """Returns a descriptor that bwrap reads its variables from: the command line of a process can be read by every
    user, and a variable of bwrap's own would decide what it loads."""
    check_variables(environment)
    words = (word for name, value in environment.items() for word in ("--setenv", name, value))
    descriptor = os.memfd_create("variables")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(b"".join(os.fsencode(word) + b"\0" for word in words))
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _bwrap() -> str:
    return find_program(_BWRAP) or f"/usr/bin/{_BWRAP}"


@cache
def _version() -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version_of(_bwrap()) or "")))
