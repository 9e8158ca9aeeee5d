"""Gateway: one HTTP server in a thread of its own, reachable at one address, for all runs of this process."""

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.events import Emit
from runbook_runner.core.ids import new_run_token
from runbook_runner.core.unix_sockets import PREFIX as UNIX
from runbook_runner.core.unix_sockets import listen_unix
from runbook_runner.gateway.cassette.cassette import Cassette
from runbook_runner.gateway.serve.budget import Budget
from runbook_runner.gateway.serve.session import Session
from runbook_runner.gateway.upstream import Upstream

if TYPE_CHECKING:
    import uvicorn

STOP_S: Final = 5  # whole seconds, uvicorn's unit
KEEP_ALIVE_S: Final = 3600  # a CLI that reuses a connection we have just closed sees a reset
_NO_LIMIT: Final = Budget()


class Gateway:
    """A context manager. Binds exactly one address, with a free port."""

    def __init__(self, host: str = "127.0.0.1"):
        """host: the address the sandbox reaches this machine at: loopback for processes, the bridge's own for
        containers on Linux (field notes §5.6), `unix:PATH` for what has no network. Never all interfaces."""
        self._host = host
        self._sessions: list[Session] = []
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._server: uvicorn.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listens when it returns. Raises NotReadyError when the address is not this machine's."""
        self._socket = _listen(self._host)
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(self._socket, ready), name="gateway", daemon=True)
        self._thread.start()
        ready.result()

    def stop(self) -> None:
        """Closes every session, then the server. Nothing happens when it does not run."""
        for session in self._sessions:
            session.close()
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(STOP_S + 5)
        if self._socket is not None:
            self._socket.close()
        self._sessions, self._server, self._thread, self._socket, self._loop = [], None, None, None, None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port it listens at, port 0 for a unix socket. Raises RuntimeError before `start`."""
        if self._socket is None:
            raise RuntimeError("the gateway has not been started")
        if self._host.startswith(UNIX):
            return self._host, 0
        host, port = self._socket.getsockname()[:2]
        return str(host), int(port)

    def open(
        self,
        *,
        upstream: Upstream,
        cassette: Cassette,
        emit: Emit,
        token: str | None = None,
        budget: Budget = _NO_LIMIT,
    ) -> Session:
        """A session with a token of its own. token: from `ids.new_run_token` when others must know it beforehand, as
        the run's redactor."""
        if self._loop is None:
            raise RuntimeError("the gateway has not been started")
        session = Session(
            token=token or new_run_token(),
            upstream=upstream,
            cassette=cassette,
            emit=emit,
            budget=budget,
            loop=self._loop,
        )
        with self._lock:
            self._sessions = [*(s for s in self._sessions if s.is_open), session]
        return session

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, listening: socket.socket, ready: "Future[None]") -> None:
        try:
            asyncio.run(self._serve(listening, ready))
        except BaseException as problem:
            if ready.done():
                raise
            ready.set_exception(problem)

    async def _serve(self, listening: socket.socket, ready: "Future[None]") -> None:
        self._loop = asyncio.get_running_loop()
        self._server = _server(lambda: self._sessions)
        ready.set_result(None)
        await self._server.serve(sockets=[listening])


def _server(sessions: Callable[[], list[Session]]) -> "uvicorn.Server":
    import uvicorn

    from runbook_runner.gateway.serve.app import build_app

    config = uvicorn.Config(
        build_app(sessions),
        http="httptools",
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # what goes wrong is told by the relay, in events
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S,
    )
    return uvicorn.Server(config)


def _listen(host: str) -> socket.socket:
    if host.startswith(UNIX):
        return _listen_unix(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named asyncio switches Nagle's algorithm off; else every answer waits 40 ms for an ACK.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.bind((host, 0))
        listening.listen()
    except OSError as problem:
        listening.close()
        hint = "The model gateway must listen where the sandbox can reach it."
        raise NotReadyError(f"Can't listen at {host}: {problem.strerror}.", hint=hint) from problem
    return listening


def _listen_unix(host: str) -> socket.socket:
    try:
        return listen_unix(Path(host.removeprefix(UNIX)))
    except OSError as problem:
        raise NotReadyError(f"Can't listen at {host}: {problem.strerror}.") from problem
