"""Gateway: one connection to a listening socket, with limits for what is sent and kept open without a token.

Other containers and users can reach some of the sockets. uvicorn limits headers only with its slow parser (h11), counts
connections only when their headers have come, and limits no time before the first answer. Import this where the server
is started: uvicorn is slow to import.
"""

from asyncio import BaseTransport
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from runbook_runner.core.network.open_files import at_most

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState

    from runbook_runner.gateway.serve.session import Session

MAX_HEAD_BYTES: Final = 64 << 10
"""Of the request line and all headers; also of the trailers of a body."""
MAX_HEADERS: Final = 256
MAX_CONNECTIONS: Final = 1024
"""Of this process; fewer where it may open few files. One run may have half of them."""
STALL_S: Final = 60.0
"""For the headers of a request, between two pieces of its body, and between requests as long as no token was shown."""
KEEP_ALIVE_S: Final = 3600  # whole seconds; a CLI that reuses a connection we have just closed sees a reset

_TOO_LARGE: Final = b"the request line and the headers may have %d KB and %d headers at most" % (
    MAX_HEAD_BYTES >> 10,
    MAX_HEADERS,
)
_REFUSAL: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n"
    b"connection: close\r\n\r\n%s" % (len(_TOO_LARGE), _TOO_LARGE)
)


@dataclass
class Peer:
    """The program at the other end of a connection."""

    admitted: bool = False
    """It has shown the token of a session."""


class Refusal(Exception):  # noqa: N818 (it makes the parser stop)
    """The request is not served."""


class Connection(HttpToolsProtocol):
    """Bounded in size, time and number. A request that comes in before the one ahead of it was answered is not served:
    the connection ends with that answer. uvicorn would keep any number of them waiting."""

    def __init__(
        self, config: "Config", run: "ServerState", sessions: "Iterable[Session]", process: "set[Connection]"
    ) -> None:
        """run: what uvicorn knows of the connections to this socket. process: those to all sockets."""
        self.peer = Peer()
        super().__init__(config, run, {"sessions": sessions, "peer": self.peer})
        self._process = process
        self._unread = 0
        """Bytes received since the last headers that were complete and the last piece of a body."""
        self._in_message = False
        self._since = 0.0
        """When the last step was made: connected, a request begun, its headers complete, a piece of its body, its
        answer sent. A piece of the headers is not a step."""

    @property
    def answering(self) -> bool:
        """A request has come in as a whole, and its answer has not been sent as a whole."""
        return self._at_work or self.transport.get_write_buffer_size() > 0

    @property
    def _at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body

    @property
    def may_be_closed(self) -> bool:
        """It holds no answer that a run waits for."""
        return not (self.peer.admitted and self.answering)

    def close_if_overdue(self) -> None:
        patience = KEEP_ALIVE_S if self.peer.admitted and not self._in_message else STALL_S
        if self.may_be_closed and self.loop.time() - self._since > patience:
            self.transport.abort()

    def shutdown(self) -> None:
        """The run has ended: an answer may be sent to its end."""
        if self.may_be_closed:
            self.transport.abort()
        else:
            super().shutdown()

    # --- connecting ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(cast(Any, transport))
        self._process.add(self)
        self._since = self.loop.time()
        most = _most_connections()
        if len(self.connections) > most // 2:
            self._close_one_of(cast("set[Connection]", self.connections))
        elif len(self._process) > most:
            self._close_one_of(self._process)

    def connection_lost(self, exc: Exception | None) -> None:
        self._process.discard(self)
        super().connection_lost(exc)

    def _close_one_of(self, connections: "set[Connection]") -> None:
        """The oldest without a token, else the one that has been idle longest, else this new one."""
        others = (other for other in connections if other is not self and other.may_be_closed)
        last = min(others, key=lambda other: (other.peer.admitted, other._since), default=self)
        last._process.discard(last)  # the transport tells later that it has been closed
        last.connections.discard(cast(Any, last))
        last.transport.abort()

    # --- receiving -------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        super().data_received(data)
        if self._unread > MAX_HEAD_BYTES or len(self.headers or ()) > MAX_HEADERS:
            self._refuse()

    def on_message_begin(self) -> None:
        self._in_message = True
        self._since = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._unread = 0
        self._since = self.loop.time()
        size = len(self.url) + sum(len(name) + len(value) + len(": \r\n") for name, value in self.headers)
        too_large = size > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS
        if too_large:
            self._refuse()
        if too_large or self._at_work:
            raise Refusal
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        if not self.cycle.response_complete:
            self._since = self.loop.time()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_message = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Also called when the parser was stopped by a `Refusal`."""
        if self._at_work:
            self.cycle.keep_alive = False
        elif not self.transport.is_closing():
            super().send_400_response(msg)

    def _refuse(self) -> None:
        if self.answering:
            self.transport.abort()
        elif not self.transport.is_closing():
            self.transport.write(_REFUSAL)
            self.transport.close()


def _most_connections() -> int:
    """Half of the files that this process may have open: runs need the others."""
    return at_most(MAX_CONNECTIONS, 2)
