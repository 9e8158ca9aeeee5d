"""Sandbox: the table of backends. A new backend is one module and one row; no other room compares a backend's name.

A row holds the facts that are known without asking the machine. `Backend.open` leads to the rest; heavy libraries are
imported there, so that reading the table costs nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, get_args

from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.spec import Policy
from runbook_runner.core.text import did_you_mean
from runbook_runner.sandbox.base import Sandbox, SandboxSpec
from runbook_runner.sandbox.labels import Leftover

if TYPE_CHECKING:
    from runbook_runner.sandbox.docker.engine import Engine

AUTO: Final = "auto"
"""Stands for the first usual backend that can do what a run asks for."""
POLICIES: Final[tuple[Policy, ...]] = get_args(Policy)


class OpenBackend(Protocol):
    """A backend that can be asked."""

    @property
    def engine(self) -> "Engine | None":
        """`None` when its sandboxes are temporary folders of this machine."""
        ...

    def require(self) -> None:
        """Raises NotReadyError, with the command that helps, when this machine can't start such a sandbox."""
        ...

    def create(self, spec: SandboxSpec) -> Sandbox:
        """Returns a sandbox that is not started."""
        ...

    def warmed(self, labels: Mapping[str, str]) -> "AbstractContextManager[OpenBackend]":
        """For processes that make one sandbox after another: the same backend, which keeps the next one ready where
        starting it takes long. labels: of a claim; what is ready has them, and is removed when the block ends."""
        ...

    def reopen(self, sandbox_id: str, spec: SandboxSpec) -> Sandbox:
        """Returns a sandbox that another process has started: to attach to, to get files from, or to stop. It may be
        dead or gone."""
        ...

    def leftovers(self) -> Iterable[Leftover]:
        """Returns the containers at its engine that say which run they belong to. Raises SandboxError."""
        ...


@dataclass(frozen=True)
class Backend:
    """One row of the table."""

    name: str
    open: Callable[[int | None], OpenBackend]
    """Takes the seconds that its engine has for an answer, `None`: the usual time. Raises NotReadyError when the engine
    does not answer, InputError when its address is invalid; never fails where there is no engine."""
    place: str
    """Where the agent runs, for people: completes "run PROGRAM …"."""
    needs: str = ""
    """What must work on this machine, for people; empty: nothing."""
    policies: tuple[Policy, ...] = POLICIES
    """The network policies it can keep."""
    usual: bool = False
    """`auto` may choose it; the order of the table is the order of choice."""
    isolates: bool = False
    """What runs in it can't read and change this machine."""
    shares_network: bool = False
    """With the policy `full` its processes reach the services of this machine's loopback."""
    has_engine: bool = False
    """Its sandboxes live at an engine, on after their process has died; otherwise each is a temporary folder of this
    machine."""
    uses_images: bool = False
    """A sandbox starts from a snapshot or an image with the agent on top; otherwise it uses this machine's programs."""
    installs_packages: bool = False
    """Debian packages can be put on top."""


def find_backend(name: str) -> Backend:
    """Raises InputError for an unknown name."""
    if found := BACKENDS.get(name):
        return found
    known = (AUTO, *BACKENDS)
    hints = (did_you_mean(name, known), f"Known sandboxes: {', '.join(known)}.")
    raise InputError(f"Unknown sandbox {name!r}.", hint=" ".join(filter(None, hints)))


def usual_backends() -> tuple[Backend, ...]:
    return tuple(backend for backend in BACKENDS.values() if backend.usual)


def open_engines() -> tuple[dict[str, OpenBackend], list[NotReadyError]]:
    """Returns the backends whose engine answers, by name, and the errors of those whose engine does not."""
    opened, errors = {}, []
    for backend in BACKENDS.values():
        try:
            if backend.has_engine:
                opened[backend.name] = backend.open(None)
        except NotReadyError as error:
            errors.append(error)
    return opened, errors


def _docker(timeout_s: int | None) -> OpenBackend:
    from runbook_runner.sandbox.docker.backend import open_docker

    return open_docker(timeout_s)


def _bubblewrap(_: int | None) -> OpenBackend:
    from runbook_runner.sandbox.local.bubblewrap import BubblewrapSandbox, require_bubblewrap
    from runbook_runner.sandbox.local.folder_sandbox import FolderBackend

    return FolderBackend(BubblewrapSandbox, require_bubblewrap)


def _host(_: int | None) -> OpenBackend:
    from runbook_runner.sandbox.local.folder_sandbox import FolderBackend
    from runbook_runner.sandbox.local.host import HostSandbox

    return FolderBackend(HostSandbox)


BACKENDS: Final[dict[str, Backend]] = {
    row.name: row
    for row in (
        Backend(
            "docker",
            _docker,
            place="in a container",
            needs="a Docker engine",
            usual=True,
            isolates=True,
            has_engine=True,
            uses_images=True,
            installs_packages=True,
        ),
        Backend(
            "bubblewrap",
            _bubblewrap,
            place="of this machine in namespaces of its own",
            needs="bubblewrap and user namespaces",
            usual=True,
            isolates=True,
            shares_network=True,
        ),
        Backend(
            "host",
            _host,
            place="in a temporary folder of this machine, without isolation",
            policies=("full",),
            shares_network=True,
        ),
    )
}
