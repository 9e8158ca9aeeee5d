"""Agents: Claude Code, headless. Flags and traps as in field notes §5.1, seen with the pinned version."""

import json
from typing import Any

from runbook_runner.agents import Agent, Assignment, Invocation
from runbook_runner.agents.claude_reader import Reader
from runbook_runner.agents.install import npm_layer
from runbook_runner.agents.install_here import npm_here
from runbook_runner.agents.mcp import by_name
from runbook_runner.agents.prompt import render_prompt
from runbook_runner.core import settings

VERSION = "2.1.330"
PACKAGE = f"@anthropic-ai/claude-code@{VERSION}"
CONFIG = f"{settings.PRIVATE}/claude"
MCP_FILE = f"{CONFIG}/mcp.json"

INSTALL = npm_layer(PACKAGE, "claude", finish="install.cjs")


def invoke(assignment: Assignment) -> Invocation:
    argv = ["claude", "-p", "--output-format", "stream-json", "--verbose", "--permission-mode", "bypassPermissions"]
    # Strictly: servers from anywhere else are none of the runbook's.
    argv += ["--strict-mcp-config", "--mcp-config", MCP_FILE.replace(settings.APP, assignment.app, 1)]
    if assignment.model:
        argv += ["--model", assignment.model]
    return Invocation(
        argv=tuple(argv),
        env=_environment(assignment),
        stdin=render_prompt(assignment).encode(),
        files={MCP_FILE: json.dumps({"mcpServers": _mcp_servers(assignment)}).encode()},
    )


def _mcp_servers(assignment: Assignment) -> dict[str, Any]:
    kinds = {server.name: server.transport for server in assignment.mcp_servers}
    return {name: {"type": kinds[name], **entry} for name, entry in by_name(assignment.mcp_servers).items()}


def _environment(assignment: Assignment) -> dict[str, str]:
    env = {
        "IS_SANDBOX": "1",  # otherwise it refuses to work unattended as root
        "CLAUDE_CONFIG_DIR": CONFIG.replace(settings.APP, assignment.app, 1),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "4",  # its own ten keep a dead endpoint waiting for most of a minute
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
    }
    if assignment.gateway_url:
        env["ANTHROPIC_BASE_URL"] = assignment.gateway_url
    if assignment.token:
        env["ANTHROPIC_AUTH_TOKEN"] = assignment.token
    return env


AGENT = Agent(
    name="claude-code",
    binary="claude",
    invoke=invoke,
    reader=lambda _: Reader(),
    version=VERSION,
    dialect="anthropic",
    install=INSTALL,
    host_install=npm_here(PACKAGE, finish="install.cjs"),
    install_hint=f"npm install --global {PACKAGE}",
    sessions=f"{CONFIG}/projects",
)
