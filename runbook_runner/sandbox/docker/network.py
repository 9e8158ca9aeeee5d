"""Docker sandbox: network policies. A container without a network, and its ways to the sockets of this machine.

An engine of this machine shows the container the folder of sockets, and a forwarder in the container carries
connections to them. From a container whose engine is elsewhere they go through a tunnel: a command in it whose input
and output carry all of them.
"""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from docker.types import Mount

from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.network.unix_sockets import connect_unix
from runbook_runner.sandbox.base import GatewayAddress, SandboxSpec
from runbook_runner.sandbox.docker.engine import Engine, engine_errors
from runbook_runner.sandbox.docker.exec_socket import Frames, exec_as_root, first_output, start_exec
from runbook_runner.sandbox.network.inside.tunnel import Tunnel
from runbook_runner.sandbox.network.sockets import INSIDE, MODEL_PORT, MODEL_SOCKET, PROGRAMS, Sockets
from runbook_runner.sandbox.temp_folders import make_folder, remove_folder

_FOLDER: Final = "sockets"
_READY: Final = b"ready\n"
_MISSING: Final = b"missing\n"
_REASON: Final = 1 << 12  # bytes
_READY_S: Final = 60.0
# $1 the program for Python, $2 for Node; then its arguments.
_START: Final = """\
python=$1 node=$2
shift 2
command -v python3 >/dev/null 2>&1 && exec python3 -I -S -c "$python" "$@"
command -v node >/dev/null 2>&1 && exec node -e "$node" -- "$@"
echo missing
"""


class ContainerSockets(Sockets):
    """The sockets of one container, in the folder of its spec."""

    def __init__(self, engine: Engine, spec: SandboxSpec):
        super().__init__(spec.network, spec.on_event)
        self._engine = engine
        self._spec = spec
        self._own_folder: Path | None = None
        self._invisible = False
        self._tunnel: ContainerTunnel | None = None

    @property
    def _visible(self) -> bool:
        """The container can be shown the folder; otherwise a tunnel leads there."""
        return self._engine.is_near and not self._invisible

    def can_do_without_folder(self, refusal: str) -> bool:
        """Returns whether the engine refused to start the container because it does not see the folder, as when this
        program runs in a container itself. The container may be started once more then, and gets a tunnel."""
        self._invisible = self._visible and self.folder is not None and str(self.folder) in refusal
        return self._invisible

    @property
    def host_config(self) -> dict[str, Any]:
        if not self.closed_in:
            return {}
        shown = []
        if self.folder and self._visible:
            shown = [Mount(INSIDE, str(self.folder), type="bind", read_only=True)]
        return {"network_mode": "none", "mounts": shown}

    def open(self, folder: Path | None = None) -> None:
        """Raises NotReadyError."""
        if not self.forwards:
            return
        with _making():
            super().open(self._new_folder())

    def forward(self, container: str) -> None:
        """Starts the forwarder, or the tunnel, in the running container. Raises NotReadyError, SandboxError."""
        if not self._visible:
            self._open_tunnel(container, dict(pair.split("=") for pair in self.forwards))
            return
        with engine_errors("start the forwarder in the container"):
            said = first_output(self._engine, container, _command("forward", *self.forwards))
        if said != _READY:
            raise NotReadyError(
                f"The image can't be used with this network policy: {_reason(said)}.",
                hint="Add python3 or node to the image, or use --network none or --network full.",
            )

    def tunnelled(self, container: str) -> GatewayAddress:
        """For a container with a network that does not lead to this machine. Raises NotReadyError, SandboxError."""
        if self._tunnel is None:
            with _making():
                self._make(self._new_folder())
            self._open_tunnel(container, {str(MODEL_PORT): MODEL_SOCKET})
        return self.gateway

    def reopen(self, container: str) -> None:
        """After everything in the container was ended. Raises NotReadyError, SandboxError."""
        if self._tunnel:
            self._tunnel.close()
            self._tunnel = self._tunnel.again()
        elif self.forwards:
            self.forward(container)

    def close(self) -> None:
        if self._tunnel:
            self._tunnel.close()
        super().close()
        if self._own_folder:
            remove_folder(self._own_folder)

    def _new_folder(self) -> Path:
        self._own_folder = make_folder(self._spec.folder)
        return self._own_folder / _FOLDER

    def _open_tunnel(self, container: str, paths: Mapping[str, str]) -> None:
        """paths: port in the container → path that ends with the name of a socket in the folder."""
        assert self.folder
        targets = {int(port): self.folder / Path(path).name for port, path in paths.items()}
        self._tunnel = ContainerTunnel(self._engine, container, targets)


class ContainerTunnel:
    """Open until `close`; ends with the container, or with this process."""

    def __init__(self, engine: Engine, container: str, targets: Mapping[int, Path]):
        """targets: port of 127.0.0.1 in the container → socket of this machine. Raises NotReadyError, SandboxError."""
        self._engine, self._container, self._targets = engine, container, targets
        with engine_errors("open a tunnel out of the container"):
            command = _command("tunnel", *map(str, targets))
            self._connection = start_exec(engine, exec_as_root(engine, container, command, stdin=True))
        frames = Frames(self._connection)
        try:
            self._await(frames)
        except BaseException:
            self._connection.close()
            raise
        tunnel = Tunnel(frames.read, self._connection.sendall, self._connect)
        threading.Thread(target=tunnel.run, name=f"tunnel-{container[:8]}", daemon=True).start()

    def again(self) -> "ContainerTunnel":
        """Returns a new tunnel like it. Raises as the constructor."""
        return ContainerTunnel(self._engine, self._container, self._targets)

    def close(self) -> None:
        self._connection.close()

    def _await(self, frames: Frames) -> None:
        patience = threading.Timer(_READY_S, self._connection.close)
        patience.start()
        with engine_errors("open a tunnel out of the container"):
            said = frames.read(len(_READY))
            if said != _READY:
                said += frames.read(_REASON)
        patience.cancel()
        if said != _READY:
            raise NotReadyError(
                "This engine's containers reach this machine only through a program in them: "
                f"{_reason(said or frames.stderr)}.",
                hint="Add python3 or node to the image, or use an engine of this machine that runs as root.",
            )

    def _connect(self, index: int) -> socket.socket:
        targets = tuple(self._targets.values())
        if index >= len(targets):
            raise OSError("there is no such port")
        return connect_unix(targets[index])


def _command(program: str, *arguments: str) -> list[str]:
    """Returns the command line of a program in `network/inside`, for an image that has Python or Node."""
    sources = [(PROGRAMS / f"{program}.{language}").read_text("utf-8") for language in ("py", "js")]
    return ["sh", "-c", _START, "runbook", *sources, *arguments]


def _reason(said: bytes) -> str:
    """Returns why a program in the container did not start."""
    return "it has neither python3 nor node" if said == _MISSING else said.decode(errors="replace").strip()


@contextmanager
def _making() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NotReadyError(f"Can't make the sandbox's sockets: {error}.") from error
