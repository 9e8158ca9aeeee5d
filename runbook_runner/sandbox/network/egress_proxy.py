"""Sandbox: the proxy that connects a sandbox with the hosts of an allow-list and with no others. HTTP and CONNECT.

It looks each name up once and connects to the address that it has checked, so that a name server that changes its
answer gains nothing. It does not see what is inside a CONNECT tunnel: a listed host is trusted with it.
"""

import asyncio
import ipaddress
import re
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runbook_runner.core.errors import RecordingError
from runbook_runner.core.events import Emit, Log, NetworkConnection
from runbook_runner.core.network.addresses import AllowList, Decision
from runbook_runner.core.network.open_files import accepted_at_once, at_most
from runbook_runner.core.network.unix_sockets import WAITING, listen_unix
from runbook_runner.core.text import counted

MAX_EVENTS: Final = 10_000
"""Connections of one run that get an event each; otherwise a sandbox could fill the disk with events."""
MAX_CONNECTIONS: Final = 256
"""At once, fewer where this process may open few files; more are turned away. Each takes two of those files."""
_MAX_HEAD: Final = 64 << 10
_HEAD_S: Final = 30.0
_CONNECT_S: Final = 20.0
_BLOCK: Final = 64 << 10
_STOP_S: Final = 5.0
_URL: Final = re.compile(r"http://(?P<place>[^/?#]+)(?P<path>[^#]*)", re.IGNORECASE)
# Between this hop and the sandbox only (RFC 9110, 7.6.1); only the first request of a connection is read.
_OURS: Final = ("proxy-connection", "proxy-authorization", "connection", "keep-alive", "host")


@dataclass(frozen=True)
class _Ask:
    host: str
    port: int
    tunnel: bool
    head: bytes = b""
    """The request as the server gets it; empty for CONNECT."""


@dataclass
class _Flow:
    """What is known of one connection so far."""

    host: str
    port: int
    began: float = field(default_factory=time.monotonic)
    decision: Decision = field(default_factory=lambda: Decision(True, ""))
    address: str | None = None
    sent: int = 0
    received: int = 0
    error: str | None = None

    def event(self) -> NetworkConnection:
        return NetworkConnection(
            host=self.host,
            port=self.port,
            address=self.address,
            allowed=self.decision.allowed,
            reason=self.decision.reason or self.error,
            bytes_sent=self.sent,
            bytes_received=self.received,
            seconds=round(time.monotonic() - self.began, 3),
        )


class _Refused(Exception):  # noqa: N818 (it is the answer to a request)
    def __init__(self, status: str, message: str):
        super().__init__(message)
        self.status = status


class EgressProxy:
    """Lives in a thread of its own between `start` and `stop`."""

    def __init__(self, rules: tuple[str, ...], emit: Emit):
        self._allowed = AllowList(rules)
        self._emit = emit
        self._told = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    def start(self, path: Path) -> None:
        """Listens at path when it returns. Raises OSError."""
        self._listen(listen_unix(path))

    def start_on_loopback(self) -> int:
        """Returns the port. For a program of this machine; others may use it as well. Raises OSError."""
        listening = socket.create_server(("127.0.0.1", 0))
        self._listen(listening)
        return int(listening.getsockname()[1])

    def _listen(self, listening: socket.socket) -> None:
        ready: Future[None] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listening, ready)), name="egress", daemon=True
        )
        self._thread.start()
        ready.result()

    def stop(self) -> None:
        """Closes every connection; each has had its event when this returns."""
        if self._loop and self._end and self._thread and self._thread.is_alive():
            with suppress(RuntimeError):  # it has ended in this moment
                self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(_STOP_S)
        if self._told > MAX_EVENTS:
            self._say(
                Log(level="warning", message=f"Not listed: {counted(self._told - MAX_EVENTS, 'more connection')}.")
            )
        self._told = 0

    async def _serve(self, listening: socket.socket, ready: "Future[None]") -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()
        most = at_most(MAX_CONNECTIONS, 16)

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            if len(tasks) >= most:
                writer.close()
                return
            tasks.add(task)
            try:
                await self._client(reader, writer)
            finally:
                tasks.discard(task)

        server = await asyncio.start_server(client, sock=listening, limit=_MAX_HEAD, backlog=accepted_at_once())
        listening.listen(WAITING)
        ready.set_result(None)
        await self._end.wait()
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        flow: _Flow | None = None
        try:
            ask = await _read(reader)
            flow = _Flow(ask.host, ask.port)
            await self._carry(ask, flow, reader, writer)
        except _Refused as refused:
            with suppress(OSError):
                writer.write(_answer(refused.status, str(refused)))
                await writer.drain()
        except (OSError, asyncio.CancelledError) as broken:
            if flow and not isinstance(broken, asyncio.CancelledError):
                flow.error = str(broken)
        finally:
            writer.close()
            if flow:
                self._report(flow)

    async def _carry(self, ask: _Ask, flow: _Flow, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        flow.decision = self._allowed.admits_host(ask.host, ask.port)
        if not flow.decision.allowed:
            raise _Refused("403 Forbidden", _why(flow))
        far_reader, far_writer = await self._connect(ask, flow)
        try:
            if ask.tunnel:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                far_writer.write(ask.head)
                flow.sent += len(ask.head)

            def sent(size: int) -> None:
                flow.sent += size

            def received(size: int) -> None:
                flow.received += size

            out = asyncio.create_task(_pump(reader, far_writer, sent))
            try:
                await _pump(far_reader, writer, received)
            finally:
                out.cancel()
                await asyncio.wait([out])
        finally:
            far_writer.close()

    async def _connect(self, ask: _Ask, flow: _Flow) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connects to the first address that is allowed and answers."""
        problem = "it has no address"
        for address in await _addresses(ask):
            decision = self._allowed.admits_address(ipaddress.ip_address(address), ask.port, by_name=True)
            if not decision.allowed:
                flow.decision = decision
                continue
            flow.decision, flow.address = decision, address
            try:
                async with asyncio.timeout(_CONNECT_S):
                    return await asyncio.open_connection(address, ask.port)
            except TimeoutError:
                problem = f"{address} does not answer"
            except OSError as error:
                problem = error.strerror or str(error)
        if not flow.decision.allowed:
            raise _Refused("403 Forbidden", _why(flow))
        flow.error = problem
        raise _Refused("502 Bad Gateway", f"{ask.host}:{ask.port} can't be reached: {problem}.")

    def _report(self, flow: _Flow) -> None:
        self._told += 1
        if self._told <= MAX_EVENTS:
            self._say(flow.event())

    def _say(self, event: NetworkConnection | Log) -> None:
        # The run reports that its record can't be written: its next event raises the same error.
        with suppress(RecordingError):
            self._emit(event)


def _why(flow: _Flow) -> str:
    return f"{flow.host}:{flow.port} is refused: {flow.decision.reason}."


async def _read(reader: asyncio.StreamReader) -> _Ask:
    """Reads the head of a request. Raises _Refused."""
    try:
        async with asyncio.timeout(_HEAD_S):
            head = await reader.readuntil(b"\r\n\r\n")
    except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise _Refused("400 Bad Request", "This is a proxy for HTTP and CONNECT.") from None
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    method, _, rest = first.partition(" ")
    target, _, version = rest.rpartition(" ")
    if method.upper() == "CONNECT":
        return _Ask(*_place(target, 443), tunnel=True)
    url = _URL.fullmatch(target)
    if url is None or not version.startswith("HTTP/1."):
        raise _Refused("400 Bad Request", "Ask for http://HOST/PATH, or CONNECT to HOST:PORT.")
    kept = [line for line in lines if line.partition(":")[0].strip().lower() not in _OURS]
    asked = [f"{method} {url['path'] or '/'} HTTP/1.1", f"Host: {url['place']}", "Connection: close", *kept]
    return _Ask(*_place(url["place"], 80), tunnel=False, head="\r\n".join([*asked, "", ""]).encode("latin-1"))


def _place(text: str, usual: int) -> tuple[str, int]:
    # No other character: the resolver reads a name up to a NUL, and `%` begins the zone of an address.
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[0-9a-zA-Z._-]+)(?::([0-9]{1,5}))?", text)
    if match is None or not 0 < int(match[2] or usual) < 65536:
        raise _Refused("400 Bad Request", "That is not a host.")
    return match[1].strip("[]").lower(), int(match[2] or usual)


async def _addresses(ask: _Ask) -> list[str]:
    try:
        async with asyncio.timeout(_CONNECT_S):
            found = await asyncio.get_running_loop().getaddrinfo(ask.host, ask.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError):
        return []
    return list(dict.fromkeys(str(item[4][0]).partition("%")[0] for item in found))


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, count: Callable[[int], None]) -> None:
    with suppress(ConnectionError):
        while data := await source.read(_BLOCK):
            count(len(data))
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()


def _answer(status: str, message: str) -> bytes:
    body = f"{message}\n".encode("utf-8", "replace")
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
