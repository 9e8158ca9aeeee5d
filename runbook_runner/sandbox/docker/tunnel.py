"""Docker sandbox: the way out of a container whose engine is elsewhere: through a command in it, to sockets here."""

import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.unix_sockets import connect_unix
from runbook_runner.sandbox.docker.engine import Engine, engine_errors
from runbook_runner.sandbox.docker.exec_socket import Frames, start_exec
from runbook_runner.sandbox.network.inside.tunnel import Tunnel

_INSIDE: Final = Path(__file__).parents[1] / "network" / "inside"
_READY: Final = b"ready\n"
_READY_S: Final = 60.0
# $1 the program for Python, $2 for Node; then the ports.
_START: Final = """\
python=$1 node=$2
shift 2
command -v python3 >/dev/null 2>&1 && exec python3 -I -S -c "$python" "$@"
command -v node >/dev/null 2>&1 && exec node -e "$node" -- "$@"
echo missing >&2
"""


class ContainerTunnel:
    """Open from its making to `close`; ends with the container, or with this process."""

    def __init__(self, engine: Engine, container: str, doors: Mapping[int, Path]):
        """doors: port of 127.0.0.1 in there → socket here. Raises NotReadyError, SandboxError."""
        self._engine, self._container, self._doors = engine, container, doors
        self._places = tuple(doors.values())
        programs = [(_INSIDE / name).read_text() for name in ("tunnel.py", "tunnel.js")]
        command = ["sh", "-c", _START, "runbook", *programs, *map(str, doors)]
        with engine_errors("open a way out of the container"):
            made = engine.api.exec_create(container, command, stdin=True, user="0")
        self._connection = start_exec(engine, made["Id"], tty=False)
        frames = Frames(self._connection)
        try:
            self._await(frames)
        except BaseException:
            self._connection.close()
            raise
        tunnel = Tunnel(frames.read, self._connection.sendall, self._connect)
        threading.Thread(target=tunnel.run, name=f"tunnel-{container[:8]}", daemon=True).start()

    def again(self) -> "ContainerTunnel":
        """A new one like it. Raises as the constructor."""
        return ContainerTunnel(self._engine, self._container, self._doors)

    def close(self) -> None:
        self._connection.close()

    def _await(self, frames: Frames) -> None:
        impatient = threading.Timer(_READY_S, self._connection.close)
        impatient.start()
        with engine_errors("open a way out of the container"):
            said = frames.read(len(_READY))
        impatient.cancel()
        if said != _READY:
            missing = b"missing" in frames.stderr
            reason = "it has neither python3 nor node" if missing else frames.stderr.decode(errors="replace").strip()
            raise NotReadyError(
                f"This engine's containers reach this machine only through a program in them: {reason}.",
                hint="Add python3 or node to the image, or use an engine of this machine that runs as root.",
            )

    def _connect(self, door: int) -> socket.socket:
        if door >= len(self._places):
            raise OSError("no such door")
        return connect_unix(self._places[door])
