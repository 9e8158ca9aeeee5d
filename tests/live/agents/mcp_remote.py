"""An MCP server on a TCP port, for the tests, made with the official SDK: one tool, for those only who bring the key.

mcp_remote.py HOST http|sse DIGEST       prints its port; DIGEST: SHA-256 of the bearer token it wants
"""

import hashlib
import socket
import sys
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer


def serving(kind: str) -> MCPServer:
    server: MCPServer = MCPServer("remote")

    @server.tool(f"add_by_{kind}", structured_output=False)
    def add(a: int, b: int) -> str:
        """Adds two whole numbers."""
        return f"The sum is {a + b}, by {kind}."

    return server


def locked(app: Any, digest: str) -> Any:
    async def gate(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            token = dict(scope["headers"]).get(b"authorization", b"").removeprefix(b"Bearer ")
            if hashlib.sha256(token).hexdigest() != digest:
                await send({"type": "http.response.start", "status": 401, "headers": []})
                await send({"type": "http.response.body", "body": b"no"})
                return
        await app(scope, receive, send)

    return gate


if __name__ == "__main__":
    host, kind, digest = sys.argv[1:]
    server = serving(kind)
    app = server.sse_app(host=host) if kind == "sse" else server.streamable_http_app(host=host)
    listening = socket.create_server((host, 0))
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(locked(app, digest), log_level="error")).run(sockets=[listening])
