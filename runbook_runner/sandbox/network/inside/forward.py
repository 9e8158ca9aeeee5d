"""Bubblewrap and Docker sandboxes: runs inside one that has no network, and carries connections to unix sockets.

Runs by itself as `python3 -I -S forward.py PORT=SOCKET...`; needs nothing but the standard library of any Python 3.
Listens on 127.0.0.1, prints `ready`, and lives on in the background until the sandbox ends. `forward.js` does the same.
"""

from __future__ import annotations

import _thread
import os
import socket
import sys


def main(pairs: list[str]) -> None:
    servers = []
    for pair in pairs:
        port, _, path = pair.partition("=")
        server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", int(port)))
        server.listen(128)
        servers.append((server, path))
    os.write(1, b"ready\n")
    if os.fork():
        os._exit(0)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    for server, path in servers[1:]:
        _thread.start_new_thread(serve, (server, path))
    serve(*servers[0])


def serve(server: socket.socket, path: str) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:  # out of descriptors: others will be closed
            continue
        _thread.start_new_thread(carry, (client, path))


def carry(client: socket.socket, path: str) -> None:
    target = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        target.connect(path)
        _thread.start_new_thread(pump, (client, target))
        pump(target, client)
    except (OSError, RuntimeError):
        return
    finally:
        hang_up(client)
        hang_up(target)


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while True:
            data = source.recv(65536)
            if not data:
                break
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        hang_up(source)
        hang_up(sink)


def hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


if __name__ == "__main__":
    main(sys.argv[1:])
