"""Room `runbook`: the `mcp_servers:` of the frontmatter (contract §3.2, §3.11), with types."""

from typing import Any, Literal

from runbook_runner.core.declared import McpServer
from runbook_runner.core.errors import InputError
from runbook_runner.runbook.parts.frontmatter import Frontmatter


def read_mcp_servers(front: Frontmatter, source: str) -> tuple[McpServer, ...]:
    """The block's own servers and those of `code_checks.mcp_servers`; the former win a clash (contract §3.11).

    Raises InputError with the line of the block: an entry that is not a mapping, or has neither a command nor a url.
    """
    inner = front.code_checks.get("mcp_servers")
    named = [("code_checks", inner if isinstance(inner, dict) else {}), ("mcp_servers", front.mcp_servers)]
    found: dict[str, McpServer] = {}
    for key, servers in named:
        where = f"{source}:{front.lines.get(key, 1)}"
        found.update((name, _server(name, body, where)) for name, body in servers.items())
    return tuple(found.values())


def _server(name: str, body: Any, where: str) -> McpServer:
    if not isinstance(body, dict):
        raise InputError(f"The MCP server {name!r} must be a mapping.", where=where)
    command, args = _command(body)
    url = body.get("url")
    if not command and not isinstance(url, str):
        raise InputError(f"The MCP server {name!r} needs a `command:` or a `url:`.", where=where)
    return McpServer(
        name=name,
        transport=_transport(body, command),
        command=command,
        args=args,
        env=_texts(body.get("env")),
        url=None if command else str(url),
        headers=_texts(body.get("headers")),
        secret=str(body["secret"]) if body.get("secret") else None,
    )


def _command(body: dict[str, Any]) -> tuple[str | None, tuple[str, ...]]:
    """`command: x` with `args:`, or everything in one list."""
    command, args = body.get("command"), body.get("args")
    words = [*(command if isinstance(command, list) else [command] if command else [])]
    words += args if isinstance(args, list) else []
    texts = tuple(map(str, words))
    return (texts[0], texts[1:]) if command and texts else (None, ())


def _transport(body: dict[str, Any], command: str | None) -> Literal["stdio", "http", "sse"]:
    if command:
        return "stdio"
    return "sse" if str(body.get("type") or body.get("transport")).lower() == "sse" else "http"


def _texts(value: Any) -> dict[str, str]:
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, dict) else {}
