"""Agents: the MCP servers of a runbook in the form that the configuration of most CLIs has."""

from collections.abc import Iterable
from typing import Any, Final

from runbook_runner.core.declared import McpServer

START_S: Final = 60
"""Every CLI gives a server this long to start: some would wait for minutes, others give one up that `npx` installs."""


def servers_by_name(
    servers: Iterable[McpServer], *, url: str = "url", headers: str = "headers"
) -> dict[str, dict[str, Any]]:
    """Name → `{command, args, env}` or `{url, headers}`, without empty values. url, headers: what the CLI calls these
    two keys."""
    return {server.name: _entry(server, url, headers) for server in servers}


def _entry(server: McpServer, url: str, headers: str) -> dict[str, Any]:
    entry: dict[str, Any] = {url: server.url, headers: dict(server.headers)}
    if server.command:
        entry = {"command": server.command, "args": list(server.args), "env": dict(server.env)}
    return {key: value for key, value in entry.items() if value}
