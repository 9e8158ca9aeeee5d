"""Docker sandbox: network policies. A container without a network, and the folder of sockets it is shown."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from docker.types import Mount

from runbook_runner.core.errors import NotReadyError
from runbook_runner.sandbox.base import GatewayAddress, SandboxSpec
from runbook_runner.sandbox.docker.engine import Engine, engine_errors
from runbook_runner.sandbox.docker.process import first_output
from runbook_runner.sandbox.network.sockets import FORWARDERS, INSIDE, MODEL_PORT, MODEL_SOCKET, Doors
from runbook_runner.sandbox.temp_folders import make_folder, remove_folder

if TYPE_CHECKING:
    from runbook_runner.sandbox.docker.tunnel import ContainerTunnel

# $1 the forwarder for Python, $2 for Node; then its arguments.
_START: Final = """\
python=$1 node=$2
shift 2
command -v python3 >/dev/null 2>&1 && exec python3 -I -S -c "$python" "$@"
command -v node >/dev/null 2>&1 && exec node -e "$node" -- "$@"
echo missing
"""


class ContainerDoors(Doors):
    """The doors of one container. The sockets' folder lies beside host sandboxes' work folders and is named like them,
    so that the start after a death finds it."""

    def __init__(self, engine: Engine, spec: SandboxSpec):
        super().__init__(spec.network, spec.on_event)
        self._engine = engine
        self._spec = spec
        self._private: Path | None = None
        self._unseen = False
        self._tunnel: ContainerTunnel | None = None

    @property
    def _shown(self) -> bool:
        """Our folder is, to the container; otherwise a tunnel leads there."""
        return self._engine.is_near and not self._unseen

    def go_round(self, refusal: str) -> bool:
        """Whether the engine refused to start the container for not seeing our folder, as when this program runs in a
        container itself, and may try once more without it."""
        self._unseen = self._shown and self.folder is not None and str(self.folder) in refusal
        return self._unseen

    @property
    def host_config(self) -> dict[str, Any]:
        if not self.closed_in:
            return {}
        shown = []
        if self.folder and self._shown:
            shown = [Mount(INSIDE, str(self.folder), type="bind", read_only=True)]
        return {"network_mode": "none", "mounts": shown}

    def open(self, folder: Path | None = None) -> None:
        """Raises NotReadyError."""
        if not self.forwards:
            return
        with _making():
            super().open(self._own_folder())

    def forward(self, container: str) -> None:
        """Starts the forwarder in the running container. Raises NotReadyError, SandboxError."""
        if not self._shown:
            self._dig(container, dict(pair.split("=") for pair in self.forwards))
            return
        programs = [(FORWARDERS / name).read_text() for name in ("forward.py", "forward.js")]
        command = ["sh", "-c", _START, "runbook", *programs, *self.forwards]
        with engine_errors("start the forwarder in the container"):
            said = first_output(self._engine.api, container, command)
        if said != b"ready\n":
            reason = "it has neither python3 nor node" if said == b"missing\n" else said.decode(errors="replace")
            raise NotReadyError(
                f"The image can't be used with this network policy: {reason.strip()}.",
                hint="Add python3 or node to the image, or use --network none or --network full.",
            )

    def tunnelled(self, container: str) -> GatewayAddress:
        """For a container with a network that does not lead to this machine. Raises NotReadyError, SandboxError."""
        if self._tunnel is None:
            with _making():
                self._make(self._own_folder())
            self._dig(container, {str(MODEL_PORT): MODEL_SOCKET})
        return self.gateway

    def reopen(self, container: str) -> None:
        """After everything in the container was ended. Raises NotReadyError, SandboxError."""
        if self._tunnel:
            self._tunnel.close()
            self._tunnel = self._tunnel.again()
        elif self.forwards:
            self.forward(container)

    def _own_folder(self) -> Path:
        self._private = make_folder(self._spec.run_id, "docker", self._spec.labels)
        return self._private / "doors"

    def _dig(self, container: str, places: Mapping[str, str]) -> None:
        """places: port in there → path, whose name is that of a socket in our folder."""
        from runbook_runner.sandbox.docker.tunnel import ContainerTunnel

        assert self.folder
        doors = {int(port): self.folder / Path(path).name for port, path in places.items()}
        self._tunnel = ContainerTunnel(self._engine, container, doors)

    def close(self) -> None:
        if self._tunnel:
            self._tunnel.close()
        super().close()
        if self._private:
            remove_folder(self._private)


@contextmanager
def _making() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NotReadyError(f"Can't make the sandbox's sockets: {error}.") from error
