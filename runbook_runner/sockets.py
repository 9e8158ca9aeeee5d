"""The one place that makes unix sockets: for the ways out of a sandbox that has no network (Linux only)."""

import os
import socket
from pathlib import Path

PREFIX = "unix:"
"""Before the path, where an address may also be an IP address."""


def listen_unix(path: Path) -> socket.socket:
    """A listening socket that everybody who sees it may connect to. Its path may be longer than the 107 bytes that the
    kernel takes: it is reached through its folder's descriptor. Raises OSError."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(f"/proc/self/fd/{folder}/{path.name}")
        path.chmod(0o666)
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    finally:
        os.close(folder)
    return listening
