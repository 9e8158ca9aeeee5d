"""Docker sandbox: network policies. A container without a network, and the folder of sockets it is shown."""

import tempfile
from pathlib import Path
from typing import Any, Final

from docker.errors import APIError
from docker.types import Mount

from runbook_runner.errors import NotReadyError
from runbook_runner.sandbox import SandboxSpec
from runbook_runner.sandbox.docker_exec import first_output
from runbook_runner.sandbox.doors import FORWARDERS, INSIDE, Doors
from runbook_runner.sandbox.engine import Engine, engine_errors
from runbook_runner.sandbox.folder import PREFIX, remove_folder

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
        self._run_id = spec.run_id
        self._private: Path | None = None

    @property
    def host_config(self) -> dict[str, Any]:
        if not self.closed_in:
            return {}
        shown = [Mount(INSIDE, str(self.folder), type="bind", read_only=True)] if self.folder else []
        return {"network_mode": "none", "mounts": shown}

    def open(self, folder: Path | None = None) -> None:
        """Raises NotReadyError."""
        if not self.forwards:
            return
        if self._engine.in_a_vm or not self._engine.url.startswith(("unix:", "http+docker:")):
            raise NotReadyError(
                f"The engine at {self._engine.url} does not run on this machine's own kernel: the network policies "
                "allowlist and model-only need that, and are not supported with Docker Desktop or a remote engine yet.",
                hint="Use --network none or --network full, or on Linux --sandbox bubblewrap.",
            )
        try:
            self._private = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{self._run_id}-"))
            super().open(self._private / "doors")
        except OSError as error:
            raise NotReadyError(f"Can't make the sandbox's sockets: {error}.") from error

    def forward(self, container: str) -> None:
        """Starts the forwarder in the running container. Raises NotReadyError, SandboxError."""
        programs = [(FORWARDERS / name).read_text() for name in ("forward.py", "forward.js")]
        command = ["sh", "-c", _START, "runbook", *programs, *self.forwards]
        try:
            said = first_output(self._engine.api, container, command)
        except APIError as error:
            with engine_errors("start the forwarder in the container"):
                raise error
        if said != b"ready\n":
            reason = "it has neither python3 nor node" if said == b"missing\n" else said.decode(errors="replace")
            raise NotReadyError(
                f"The image can't be used with this network policy: {reason.strip()}.",
                hint="Add python3 or node to the image, or use --network none or --network full.",
            )

    def close(self) -> None:
        super().close()
        if self._private:
            remove_folder(self._private)
