"""Sandbox: where an agent works. The contract that every backend of the table in `backends.py` keeps.

Proof of the contract is `tests/sandbox/test_conformance.py`, which runs against each of them. Paths are those of
`/app/...` (contract §5.2) in every backend; times are seconds, sizes bytes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from runbook_runner.core import settings
from runbook_runner.core.events import Emit
from runbook_runner.core.spec import Network

Stream = Literal["stdout", "stderr"]
EndedBy = Literal["exit", "deadline", "killed"]
Limit = Literal["cpus", "memory", "processes", "open_files", "disk"]
Hold = Literal["together", "each", "watched", "none"]
"""How a limit holds: for all processes of the sandbox together, by a control group; for each process by itself;
measured every second or so, and the processes are ended when it is exceeded; or not at all."""

FOLDERS = (settings.APP, settings.ASSETS, settings.RESULTS, settings.WORK, settings.PRIVATE)
"""What every started sandbox has, each with mode 0777: an image may run its commands as any user."""


@dataclass(frozen=True)
class SandboxSpec:
    """What one run asks of its sandbox."""

    run_id: str
    """Part of the container's name."""
    folder: Path | None = None
    """Of this machine, for what this sandbox needs of it; made when it starts, removed when it stops. `None`: a new
    temporary folder."""
    image: str | None = None
    """For a backend that uses images: tag or id of an image that the engine has."""
    unpacks: bool = False
    """Commands of the image run as root and it has `tar`, so that small files may come in with a command."""
    cpus: float = settings.DEFAULT_CPUS
    """Cores; a sandbox takes what the machine has when that is less. The host backend can't limit it."""
    memory_bytes: int = settings.DEFAULT_MEMORY_BYTES
    """Of everything in the sandbox; where no control group can be made, of the data of each process (Linux only)."""
    pids: int = settings.DEFAULT_PIDS
    """Processes and threads in the sandbox. Without a control group not limited by the host backend, by an engine, nor
    by bubblewrap for the real root or on an old kernel: the limit that is left there counts all of the user's."""
    open_files: int = settings.DEFAULT_OPEN_FILES
    """Of each process; less where the machine allows less."""
    disk_bytes: int = settings.DEFAULT_DISK_BYTES
    """Written in the sandbox. Measured every second or so, not a quota: what exceeds it is ended soon, not at once."""
    network: Network = field(default_factory=Network)
    """Policies other than `full` only where the backend says so."""
    on_event: Emit = field(default=lambda _: None)
    """Gets every connection that an allow-list decides about; from any thread."""
    host_tools: tuple[str, ...] = ()
    """For a backend without images: programs of this machine that commands need, by name or path; a sandbox that hides
    this machine shows them, read-only."""
    lifetime_s: float = 7200.0
    """A container ends by itself after this time, even if its run's process was killed."""
    labels: Mapping[str, str] = field(default_factory=dict)
    ca_bundle: Path | None = None
    """PEM file that the tools in the sandbox shall trust; `None`: they trust what the image trusts."""


class Source(Protocol):
    """Content that is made while it is read, such as a member of an archive."""

    @property
    def size(self) -> int:
        """In bytes."""
        ...

    def open(self, mode: Literal["rb"], /) -> AbstractContextManager["Readable"]:
        """Raises RunbookError, as reading it does: that ends what it is read for."""
        ...


@dataclass(frozen=True)
class PutFile:
    path: str
    """Absolute sandbox path under `/app` or `/etc/runbook`."""
    source: bytes | Path | Source
    """The content, or a host file that has it, which is no link; all but bytes is streamed, never held in memory."""
    mode: int = 0o666


Stamp = tuple[int, float]
"""Size of a file, and when it was last changed (Unix time)."""


@dataclass(frozen=True)
class ReceivedFile:
    path: str
    """Below the folder it was fetched into, POSIX. Bytes that are not UTF-8 are spelled `\\xNN`."""
    size: int
    sandbox_path: str
    stamp: Stamp
    """As it was in the sandbox."""


@dataclass(frozen=True)
class Received:
    files: tuple[ReceivedFile, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    """Path and reason of what was not fetched: it is not a regular file, can't be stored under its name, exceeds a
    limit, or was there before. The first thousand."""
    more_skipped: int = 0
    """How many more there are."""


@dataclass(frozen=True)
class Chunk:
    """Output as it arrived; its borders mean nothing."""

    stream: Stream
    data: bytes


@dataclass(frozen=True)
class Exit:
    code: int | None
    """Exit status, 128 + number when a signal ended it; `None` when the runner ended it."""
    ended_by: EndedBy


@dataclass(frozen=True)
class GatewayAddress:
    """How a server on this machine is reached from inside the sandbox."""

    bind: str
    """Address the server shall listen on."""
    reach: str
    """Host name or address by which the sandbox reaches it."""
    port: int | None = None
    """Port by which the sandbox reaches it; `None`: the server's own. Set when bind is `unix:PATH`, a socket of this
    machine."""


@dataclass(frozen=True)
class LimitHit:
    """A limit that the sandbox's processes ran into."""

    limit: Limit
    message: str
    """One sentence for people."""


class Readable(Protocol):
    def read(self, size: int, /) -> bytes:
        """Up to size bytes; empty at the end."""
        ...


class Filter(Protocol):
    """Stands between a sandbox's files and the disk."""

    def name(self, name: str, /) -> str:
        """Returns what to call the file or folder of that name."""
        ...

    def __call__(self, name: str, content: Readable, /) -> Readable:
        """Returns the content to store. name: below the fetched folder, as it is stored."""
        ...


@dataclass(frozen=True)
class Wanted:
    """What of a tree is fetched."""

    max_bytes: int
    """Of all files together; one that would exceed it is skipped."""
    max_files: int
    """Entries of the tree, folders among them; what comes after is skipped."""
    scrub: Filter | None = None
    """Stands between the sandbox and the disk."""
    below: str = ""
    """The path by which it is put into the host folder; empty: a tree takes the folder's place."""
    before: Mapping[str, Stamp] = field(default_factory=dict)
    """Sandbox path → stamp of files that are wanted only when they have changed since."""


class Process(Protocol):
    """A command in a sandbox. Read it by iterating once, from one thread."""

    def __iter__(self) -> Iterator[Chunk]:
        """Output as it arrives, in the order it was written within each stream. Ends when the command has ended.
        Raises SandboxError when the sandbox is lost under it."""
        ...

    def kill(self, reason: EndedBy = "killed") -> None:
        """Ends the command and everything it started, also what called setsid: SIGTERM, then SIGKILL after
        `settings.GRACE_S`. Returns at once; `wait` returns when it is done. From any thread. Of several calls the
        first counts; after the end none does. Other commands of the same sandbox may be ended with it."""
        ...

    def wait(self) -> Exit:
        """Waits for the end; output that was not read is dropped. After a deadline or a kill nothing of the command is
        left running. Background children need not outlive a normal end either. Raises SandboxError when the sandbox
        is lost under it."""
        ...


class Attached(Protocol):
    """A command at the user's terminal. Read it from one thread; write to it from another."""

    @property
    def shares_input(self) -> bool:
        """It reads this process' own stdin: nothing is to be sent."""
        ...

    def receive(self) -> tuple[Stream, bytes] | None:
        """Waits for output; with a terminal all of it is stdout. `None`: there will be no more."""
        ...

    def send(self, data: bytes) -> None:
        """Its input, as it was typed. Raises OSError once it has ended."""
        ...

    def end_input(self) -> None:
        """Without a terminal: ends its input. A terminal has a key for that."""
        ...

    def resize(self, rows: int, columns: int) -> None:
        """Sets the size of its terminal."""
        ...

    def wait(self) -> int:
        """Returns its exit code, 128 + number of a signal. To be called after the last `receive`. Raises
        SandboxError."""
        ...


class Sandbox(Protocol):
    """A context manager: started when entered; on leaving it is stopped."""

    backend: str
    """Name of its row in the table of backends."""

    @property
    def sandbox_id(self) -> str:
        """Container id, or the temporary folder's path on this machine; empty before `start`."""
        ...

    @property
    def app(self) -> str:
        """The path of `/app` as processes in the sandbox say it: `/app`, or the folder that stands for it."""
        ...

    def start(self) -> None:
        """Makes `FOLDERS`. Once. Raises NotReadyError when the machine can't (no image, no engine, disk full),
        SandboxError when it was stopped meanwhile."""
        ...

    def put(self, files: Iterable[PutFile]) -> None:
        """Writes files, replacing what is there; missing parents get mode 0777. Raises InputError for a path
        elsewhere than `PutFile.path` says or a source that can't be read, SandboxError when the sandbox is gone, and
        what a `Source` raises."""
        ...

    def exec(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = settings.WORK,
        stdin: bytes | None = None,
        files: Iterable[PutFile] = (),
        deadline_s: float,
    ) -> Process:
        """Starts a command; returns at once. env adds to the sandbox's own and appears in no description of it.
        stdin `None`: empty. files: put there first, as by `put`, which takes longer as a call of its own. After
        deadline_s it is killed as by `kill("deadline")`, even if its output is not read and the caller is gone. For a
        missing program it exits 127, for a missing cwd 126, both with a line on stderr. Raises what `put` raises, and
        SandboxError when the sandbox is gone."""
        ...

    def attach(self, argv: Sequence[str], *, env: Mapping[str, str], tty: bool) -> Attached:
        """Starts a command in `/app` at the user's own terminal, or a shell when argv is empty. tty: it gets a terminal
        of its own. It has no deadline and ends with the sandbox. Raises SandboxError."""
        ...

    def end_processes(self) -> None:
        """Ends what commands have left behind, as far as the sandbox's own programs can be believed; other commands may
        follow. Raises SandboxError."""
        ...

    def get(self, path: str, into: Path, wanted: "Wanted") -> Received:
        """Copies the file or the tree at a sandbox path into the host folder `into`, made if missing: folders and
        regular files only, for the caller alone, each file in place complete or not at all, executable when it is so.
        Links are never followed; a second name (hard link) of a file in the tree is a file of its own. A missing path
        is an empty Received. What runs in the sandbox may be ended when the tree can't be read for its changes. Raises
        NotReadyError when `into` can't be written (disk full), SandboxError when the sandbox is gone."""
        ...

    def localise(self, text: str) -> str:
        """Returns the text with `/app` paths as processes in this sandbox must say them."""
        ...

    def gateway_host(self) -> GatewayAddress:
        """Returns where the gateway is to listen. Needs a started sandbox. Raises NotReadyError when the sandbox can't
        reach this machine."""
        ...

    def holds(self) -> Mapping[Limit, Hold]:
        """Returns how each limit holds. Needs a started sandbox."""
        ...

    def counts_sockets(self) -> bool:
        """Returns whether the memory limit holds for what was written to sockets and is not read yet. Needs a started
        sandbox."""
        ...

    def limits_hit(self, *, measured: bool = False) -> tuple[LimitHit, ...]:
        """Returns what was hit so far, as far as it can be known. measured: only of those that this program measures,
        which takes no time. Needs a started sandbox."""
        ...

    def stop(self) -> None:
        """Ends every process and removes the container or folder. Idempotent, from any thread, also after a `start`
        that failed half way. Raises SandboxError when something can't be removed."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
