"""Gateway: one HTTP server for this process, in a thread of its own, with one listening socket per run.

The server runs while at least one socket is open. A session can be reached through its own socket only.
"""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.events import Emit
from runbook_runner.core.ids import new_run_token
from runbook_runner.core.network.open_files import accepted_at_once
from runbook_runner.core.network.unix_sockets import PREFIX as UNIX
from runbook_runner.core.network.unix_sockets import WAITING, listen_unix
from runbook_runner.gateway.cassette.cassette import Cassette
from runbook_runner.gateway.providers.http_client import close_clients
from runbook_runner.gateway.serve.budget import Budget, Spending
from runbook_runner.gateway.serve.session import Session
from runbook_runner.gateway.upstream import Upstream

if TYPE_CHECKING:
    import uvicorn

    from runbook_runner.gateway.serve.connection import Connection

STOP_S: Final = 5.0  # to send what is left of the answers when a socket closes, and to end the server's thread
SWEEP_S: Final = 5.0  # between two looks for connections that are overdue
_STEPS_TO_CONNECT: Final = 3  # of the event loop, from accepting a connection to its `connection_made`
_CHECK_S: Final = 0.01  # between two looks at the connections of a socket that closes
_NO_LIMIT: Final = Budget()


@contextmanager
def listen(bind: str = "127.0.0.1") -> "Iterator[Listener]":
    """Listens at one address, with a free port, for as long as the block runs; then closes its sessions and
    connections.

    bind: the address at which the sandbox reaches this machine: loopback for processes, the bridge's own for
    containers on Linux (field notes §5.6), `unix:PATH` for a sandbox without a network. Never all interfaces.
    Raises NotReadyError when the address is not one of this machine's.
    """
    with _listening_socket(bind) as listening, _SERVER.running() as thread:
        listener = Listener(bind, listening, thread)
        try:
            yield listener
        finally:
            listener.close()


class Listener:
    """One run's listening socket and the sessions that it leads to. Made by `listen`."""

    def __init__(self, bind: str, listening: socket.socket, thread: "_ServerThread"):
        from uvicorn.server import ServerState

        host, port = (bind, 0) if bind.startswith(UNIX) else listening.getsockname()[:2]
        self.address: Final[tuple[str, int]] = (host, port)
        """Host and port; `unix:PATH` and 0 for a unix socket."""
        self._loop = thread.loop
        self._config = thread.config
        self._socket = listening
        self._sessions: list[Session] = []
        self._all_connections = thread.connections
        self._connections = ServerState()
        self._server = asyncio.run_coroutine_threadsafe(self._accept(), self._loop).result()

    def open(
        self,
        *,
        upstream: Upstream,
        cassette: Cassette,
        emit: Emit,
        token: str | None = None,
        budget: Budget = _NO_LIMIT,
        within: Spending | None = None,
        shares: Session | None = None,
    ) -> Session:
        """Returns a session with a token of its own. token: from `ids.new_run_token`, when others must know it
        beforehand, such as the run's redactor. within: what others use as well. shares: another session, whose budget
        it uses in the place of both."""
        session = Session(
            token=token or new_run_token(),
            upstream=upstream,
            cassette=cassette,
            emit=emit,
            spending=shares.spending if shares else Spending(budget, within),
            loop=self._loop,
        )
        self._sessions.append(session)
        return session

    def close(self) -> None:
        """Closes the sessions, then the socket and its connections."""
        for session in self._sessions:
            session.close()
        asyncio.run_coroutine_threadsafe(self._disconnect(), self._loop).result()

    async def _accept(self) -> asyncio.Server:
        server = await self._loop.create_server(self._connection, sock=self._socket, backlog=accepted_at_once())
        self._socket.listen(WAITING)
        return server

    def _connection(self) -> asyncio.Protocol:
        from runbook_runner.gateway.serve.connection import Connection  # uvicorn is slow to import

        return Connection(self._config, self._connections, self._sessions, self._all_connections)

    async def _disconnect(self) -> None:
        """Answers that are being sent may end first; other connections are closed at once."""
        self._loop.remove_reader(self._socket)
        for _ in range(_STEPS_TO_CONNECT):  # a server that closes earlier forgets what it has just accepted
            await asyncio.sleep(0)
        self._server.close()
        for connection in list(self._connections.connections):
            connection.shutdown()
        end = self._loop.time() + STOP_S
        while self._connections.connections and self._loop.time() < end:
            await asyncio.sleep(_CHECK_S)
        for connection in list(self._connections.connections):
            connection.transport.abort()


class _ServerThread:
    """The thread with the event loop, and the one ASGI app that all sockets serve."""

    def __init__(self) -> None:
        self.config = _config()
        self.connections: set[Connection] = set()
        self.loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="gateway", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        while not self._stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), SWEEP_S)
            for connection in list(self.connections):
                connection.close_if_overdue()
        await close_clients()


class _Server:
    """Starts the thread for its first user and stops it after the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._thread: _ServerThread | None = None

    @contextmanager
    def running(self) -> Iterator[_ServerThread]:
        with self._lock:
            thread = self._thread = self._thread or _ServerThread()
            self._users += 1
        try:
            yield thread
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._thread = None
                    thread.stop()


_SERVER: Final = _Server()


def _config() -> "uvicorn.Config":
    import uvicorn

    from runbook_runner.gateway.serve.app import app  # starlette is slow to import
    from runbook_runner.gateway.serve.connection import KEEP_ALIVE_S

    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # the relay reports errors as events
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    config.load()
    return config


def _listening_socket(bind: str) -> socket.socket:
    if bind.startswith(UNIX):
        try:
            return listen_unix(Path(bind.removeprefix(UNIX)))
        except OSError as error:
            raise NotReadyError(f"Can't listen at {bind}: {error.strerror}.") from error
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    # With the protocol named asyncio switches Nagle's algorithm off; else every answer waits 40 ms for an ACK.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.bind((bind, 0))
        listening.listen()
    except OSError as error:
        listening.close()
        hint = "The model gateway must listen where the sandbox can reach it."
        raise NotReadyError(f"Can't listen at {bind}: {error.strerror}.", hint=hint) from error
    return listening
