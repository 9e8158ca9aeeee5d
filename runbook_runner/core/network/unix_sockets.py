"""Core: unix sockets, the ways out of a sandbox that has no network."""

import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PREFIX = "unix:"
"""Before the path, where an address may also be an IP address."""
WAITING: Final = 128
"""Connections that the kernel keeps until they are accepted. asyncio makes them as few as it accepts at once."""


def listen_unix(path: Path) -> socket.socket:
    """A listening socket that every user who can reach its path may connect to. Raises OSError."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(path) as name:
            listening.bind(name)
        path.chmod(0o666)
        listening.listen(WAITING)
    except OSError:
        listening.close()
        raise
    return listening


def connect_unix(path: Path) -> socket.socket:
    """Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(path) as name:
            connection.connect(name)
    except OSError:
        connection.close()
        raise
    return connection


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Another name for the path, shorter than the kernel's limit of about 100 bytes: Linux reaches it through its
    folder's descriptor, other systems through a link in a folder that only this user can enter."""
    if sys.platform == "linux":
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{folder}/{path.name}"
        finally:
            os.close(folder)
        return
    with tempfile.TemporaryDirectory(dir="/tmp") as place:  # TMPDIR is long on macOS
        link = Path(place, "s")
        link.symlink_to(path.parent)
        yield f"{link}/{path.name}"
