"""Sandbox: the ways out of a sandbox that has no network of its own: unix sockets in a folder it sees, nothing else.

`model.sock` is the gateway's, `egress.sock` the allow-list proxy's. Inside, `inside/forward.py` listens on 127.0.0.1
and carries each connection to one of them. There is no route, no name server and no other host inside.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.events import Emit
from runbook_runner.core.network.unix_sockets import PREFIX as UNIX
from runbook_runner.core.spec import Network
from runbook_runner.sandbox.base import GatewayAddress

if TYPE_CHECKING:
    from runbook_runner.sandbox.network.egress_proxy import EgressProxy

INSIDE: Final = "/run/runbook"
"""Where the sandbox sees the folder."""
PROGRAMS: Final = Path(__file__).parent / "inside"
"""The folder of the programs that run inside a sandbox."""
MODEL_PORT: Final = 8377
MODEL_SOCKET: Final = "model.sock"
_PROXY_PORT: Final = 3128
_PROXY_SOCKET: Final = "egress.sock"
_LOOPBACK: Final = "127.0.0.1"


class Sockets:
    """The sockets of one sandbox, whatever its policy; with `full` there are none and it does nothing."""

    def __init__(self, network: Network, emit: Emit):
        self._network = network
        self._emit = emit
        self._folder: Path | None = None
        self._proxy: EgressProxy | None = None

    @property
    def closed_in(self) -> bool:
        """The sandbox gets no network of its own."""
        return self._network.policy != "full"

    @property
    def forwards(self) -> tuple[str, ...]:
        """The forwarder's arguments; none when the policy allows no connection."""
        model = f"{MODEL_PORT}={INSIDE}/{MODEL_SOCKET}"
        proxy = f"{_PROXY_PORT}={INSIDE}/{_PROXY_SOCKET}"
        return {"allowlist": (model, proxy), "model-only": (model,)}.get(self._network.policy, ())

    @property
    def folder(self) -> Path | None:
        """To be shown at `INSIDE`; `None` when there is no socket."""
        return self._folder

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which the tools inside find the proxy."""
        if self._network.policy != "allowlist":
            return {}
        url, direct = f"http://{_LOOPBACK}:{_PROXY_PORT}", f"{_LOOPBACK},localhost,::1"
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        proxies = {spelled: url for name in names for spelled in (name, name.lower())}
        return proxies | {"NO_PROXY": direct, "no_proxy": direct, "NODE_USE_ENV_PROXY": "1"}

    @property
    def gateway(self) -> GatewayAddress:
        """Raises NotReadyError when the policy has no way to a model."""
        if self._folder is None:
            raise NotReadyError("This sandbox has no network at all.", hint="Use --network model-only.")
        return GatewayAddress(bind=f"{UNIX}{self._folder}/{MODEL_SOCKET}", reach=_LOOPBACK, port=MODEL_PORT)

    def open(self, folder: Path) -> None:
        """folder: made when there is need for it, in one that only its owner can enter. Raises OSError."""
        if not self.forwards:
            return
        self._make(folder)
        if self._network.policy == "allowlist":
            from runbook_runner.sandbox.network.egress_proxy import EgressProxy  # asyncio, for this policy only

            self._proxy = EgressProxy(self._network.allow_hosts, self._emit)
            self._proxy.start(folder / _PROXY_SOCKET)

    def share(self, folder: Path) -> None:
        """Uses the sockets that another process has opened there; they do not answer once it has closed them."""
        if self.forwards:
            self._folder = folder

    def _make(self, folder: Path) -> None:
        folder.mkdir()
        folder.chmod(0o755)  # the sandbox may run as any user
        self._folder = folder

    def close(self) -> None:
        """Nothing is emitted afterwards."""
        if self._proxy:
            self._proxy.stop()
