"""Docker sandbox: an engine behind ssh. One ssh process carries every connection to the engine's socket.

It is the user's own `ssh`, with their configuration, keys and agent. It needs no docker command on the other side, and
one login serves a whole run, where a connection for each request would cost a fraction of a second each.
"""

import atexit
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.programs import find_program
from runbook_runner.sandbox.docker.endpoint import Endpoint

_READY: Final = b"runbook-ready\n"
_WAIT_S: Final = 30.0
# $1 the folder with the socket, which is removed after ssh; then the command. The remote end prints a word when it is
# ready, and reads until its input ends: however this process ends, ssh sees the end of its input and ends too.
_CARRY: Final = """\
folder=$1
shift
trap '' INT
exec 3<&0
"$@" <&3 2>"$folder/said" &
ssh=$!
trap 'kill $ssh' TERM
wait $ssh
tail -c 2000 "$folder/said"
rm -rf -- "$folder"
"""
_REMOTE: Final = f"echo {_READY.decode().strip()}; exec cat >/dev/null"

_forwards: dict[str, "_Forward"] = {}
_lock = threading.Lock()


def forward(endpoint: Endpoint) -> str:
    """Returns the path of a socket of this machine that leads to the engine's; one for the whole process. Raises
    NotReadyError with the output of ssh."""
    with _lock:
        there = _forwards.get(endpoint.url)
        if there is None or there.ended:
            there = _forwards[endpoint.url] = _Forward(endpoint)
        return there.path


class _Forward:
    def __init__(self, endpoint: Endpoint):
        ssh = find_program("ssh")
        if ssh is None:
            raise NotReadyError(
                f"There is no `ssh` on this machine's PATH to reach {endpoint.url}.",
                hint="Install it with `sudo apt-get install openssh-client` (or your system's way).",
            )
        folder = Path(tempfile.mkdtemp(prefix="runbook-ssh-"))
        self.path = str(folder / "engine.sock")
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _CARRY, "runbook", str(folder), ssh, *_arguments(endpoint, self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        atexit.register(self._leave)
        self._await(endpoint.url)

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def _await(self, url: str) -> None:
        assert self._process.stdout
        patience = threading.Timer(_WAIT_S, self._leave)
        patience.daemon = True
        patience.start()
        try:
            said = self._process.stdout.readline()
            if said == _READY:
                return
            said += self._process.stdout.read()
        finally:
            patience.cancel()
        self._leave()
        raise NotReadyError(
            f"The Docker engine at {url} can't be reached: ssh did not connect.",
            hint="Try `ssh` with that host by hand; it must work without asking anything.",
            details=said.decode(errors="replace").strip() or None,
        )

    def _leave(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.terminate()
        shutil.rmtree(Path(self.path).parent, ignore_errors=True)


def _arguments(endpoint: Endpoint, path: str) -> list[str]:
    parts = urlsplit(endpoint.url)
    return [
        "-T",
        *("-o", "ExitOnForwardFailure=yes", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=20"),
        # A shared connection of the user's would keep our forward after this process has ended.
        *("-o", "ControlMaster=no", "-o", "ControlPath=none"),
        *("-L", f"{path}:{endpoint.socket_path}"),
        *(["-p", str(parts.port)] if parts.port else []),
        *(["-l", parts.username] if parts.username else []),
        "--",
        parts.hostname or "",
        _REMOTE,
    ]
