"""Core, network: sockets whose reads end at one deadline: a server could send a byte of a header now and then, or `100
Continue` forever. Import it where it is used: `ssl` is slow to import."""

import socket
import ssl
import time
from typing import Any


class TimedSocket(socket.socket):
    deadline: float
    """By `time.monotonic()`; to be set before the first read."""

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the server is too slow")
        self.settimeout(left)
        return super().recv_into(*arguments, **options)


class TimedTlsSocket(TimedSocket, ssl.SSLSocket):
    """The `sslsocket_class` of a context."""
