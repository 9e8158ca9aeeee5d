"""Docker sandbox: connections out of a container, all over the input and output of one command in it.

For engines that this machine shares no network and no kernel with. Inside it runs by itself as `python3 -I -S -c SOURCE
PORT...`: it listens on 127.0.0.1 and numbers the ports from 0. Outside, `Tunnel` connects each connection that comes
to the target of that number. `tunnel.js` is the inside for images that have Node and no Python.

A frame is a head (stream, kind, number) and, for DATA, so many bytes as the number says. Each side may have WINDOW
bytes on the way that the other has not TAKEN, so that one slow connection holds up no other.
"""

from __future__ import annotations

import os
import queue
import socket
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

HEAD = struct.Struct(">IBI")
OPEN, DATA, END, CLOSE, TAKEN = range(5)
WINDOW = 1 << 18
BLOCK = 1 << 15
STREAMS = 256
"""At once; more are turned away. What is inside a sandbox may send us anything."""


class Tunnel:
    """One end. read: exactly so many bytes, fewer at the end. connect: what a new stream of the other end leads to, by
    the number it was opened with; an end that only opens needs none."""

    def __init__(
        self,
        read: Callable[[int], bytes],
        write: Callable[[bytes], object],
        connect: Callable[[int], socket.socket] | None = None,
    ) -> None:
        self._read = read
        self._write = write
        self._connect = connect
        self._writing = threading.Lock()
        self._streams: dict[int, Stream] = {}
        self._leading: set[Stream] = set()
        """Streams that are being connected, those among them that the other end has closed meanwhile."""
        self._next = 0

    def run(self) -> None:
        """Returns when the other end is gone, or sends something else than a frame."""
        with suppress(OSError):
            while len(head := self._read(HEAD.size)) == HEAD.size:
                number, kind, amount = HEAD.unpack(head)
                if kind == DATA and not 0 < amount <= BLOCK:
                    break
                self._take(number, kind, amount, self._read(amount) if kind == DATA else b"")
        for stream in list(self._streams.values()):
            stream.hang_up()

    def open(self, client: socket.socket, index: int) -> None:
        """Gives a connection to the other end."""
        self._next += 1
        stream = self._streams[self._next] = Stream(self, self._next)
        self.send(self._next, OPEN, index)
        stream.carry(client)

    def send(self, stream: int, kind: int, amount: int, data: bytes = b"") -> None:
        with self._writing:
            self._write(HEAD.pack(stream, kind, amount) + data)

    def forget(self, number: int) -> None:
        self._streams.pop(number, None)

    def _take(self, number: int, kind: int, amount: int, data: bytes) -> None:
        if kind == OPEN:
            self._accept(number, amount)
        elif stream := self._streams.get(number):
            stream.take(kind, amount, data)

    def _accept(self, number: int, index: int) -> None:
        if self._connect is None or number in self._streams:
            return
        if max(len(self._streams), len(self._leading)) >= STREAMS:
            self.send(number, CLOSE, 0)
            return
        stream = self._streams[number] = Stream(self, number)
        self._leading.add(stream)
        threading.Thread(target=self._lead, args=(stream, index), daemon=True).start()

    def _lead(self, stream: Stream, index: int) -> None:
        assert self._connect
        try:
            connection = self._connect(index)
        except OSError:
            stream.hang_up()
            return
        finally:
            self._leading.discard(stream)
        stream.carry(connection)


class Stream:
    """One connection. What comes for it waits in a queue, at most WINDOW bytes, because no more may come."""

    def __init__(self, tunnel: Tunnel, number: int) -> None:
        self._tunnel = tunnel
        self._number = number
        self._connection: socket.socket | None = None
        self._waiting: queue.Queue[bytes | None] = queue.Queue()
        self._held = 0
        self._credit = WINDOW
        self._change = threading.Condition()
        self._ended = 0
        self._ends = False
        """The other end sends no more."""
        self._over = False

    def carry(self, connection: socket.socket) -> None:
        with self._change:
            self._connection = connection
            over = self._over
        if over:
            connection.close()
            return
        for job in (self._pump, self._drain):
            threading.Thread(target=job, args=(connection,), daemon=True).start()

    def take(self, kind: int, amount: int, data: bytes) -> None:
        with self._change:
            if kind == DATA:
                self._held += len(data)
            elif kind == TAKEN:
                self._credit = min(WINDOW, self._credit + amount)
                self._change.notify_all()
        if kind == CLOSE or self._held > WINDOW:
            self.hang_up(by_other_end=kind == CLOSE)
        elif kind == DATA:
            self._waiting.put(data)
        elif kind == END and not self._ends:
            self._ends = True
            self._waiting.put(None)

    def hang_up(self, by_other_end: bool = False) -> None:
        """by_other_end: the other end has closed it and need not be told."""
        with self._change:
            if self._over:
                return
            self._over = True
            self._change.notify_all()
            connection = self._connection
        self._tunnel.forget(self._number)
        self._waiting.put(None)
        if connection:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        if not by_other_end:
            with suppress(OSError):
                self._tunnel.send(self._number, CLOSE, 0)

    def _pump(self, connection: socket.socket) -> None:
        """Sends what the connection says to the other end."""
        try:
            while data := connection.recv(self._allowance()):
                with self._change:
                    self._credit -= len(data)
                self._tunnel.send(self._number, DATA, len(data), data)
            self._tunnel.send(self._number, END, 0)
            self._end()
        except OSError:
            self.hang_up()

    def _allowance(self) -> int:
        with self._change:
            while self._credit <= 0 and not self._over:
                self._change.wait()
            return max(1, min(BLOCK, self._credit))

    def _drain(self, connection: socket.socket) -> None:
        """Writes what the other end has sent to the connection."""
        try:
            while (data := self._waiting.get()) is not None:
                connection.sendall(data)
                with self._change:
                    self._held -= len(data)
                self._tunnel.send(self._number, TAKEN, len(data))
            connection.shutdown(socket.SHUT_WR)
            self._end()
        except OSError:
            self.hang_up()

    def _end(self) -> None:
        """Ends one direction, with the second the whole stream. The other end does so by itself: a CLOSE now would make
        it drop what it has not yet passed on."""
        with self._change:
            self._ended += 1
            both = self._ended == 2
        if both:
            self.hang_up(by_other_end=True)


def main(ports: list[str]) -> None:
    servers = []
    for port in ports:
        server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", int(port)))
        server.listen(128)
        servers.append(server)
    os.write(1, b"ready\n")
    source = os.fdopen(0, "rb", buffering=1 << 16)
    tunnel = Tunnel(source.read, write_all)
    for index, server in enumerate(servers):
        threading.Thread(target=serve, args=(tunnel, server, index), daemon=True).start()
    tunnel.run()


def write_all(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def serve(tunnel: Tunnel, server: socket.socket, index: int) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:  # out of descriptors: others will be closed
            continue
        tunnel.open(client, index)


if __name__ == "__main__":
    main(sys.argv[1:])
