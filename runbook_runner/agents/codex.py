"""Agents: Codex, headless. Flags and configuration as seen with the pinned version (field notes §5.2)."""

from typing import Any

from runbook_runner.agents import Agent, Assignment, Invocation
from runbook_runner.agents.codex_reader import Reader
from runbook_runner.agents.install import npm_layer
from runbook_runner.agents.install_here import npm_here
from runbook_runner.agents.mcp import by_name
from runbook_runner.agents.prompt import render_prompt
from runbook_runner.agents.toml import dump_toml
from runbook_runner.core import settings
from runbook_runner.core.declared import McpServer
from runbook_runner.core.errors import InputError

VERSION = "0.169.0"
PACKAGE = f"@openai/codex@{VERSION}"
HOME = f"{settings.PRIVATE}/codex"
TOKEN = "RUNBOOK_GATEWAY_TOKEN"  # noqa: S105 (the variable's name)

INSTALL = npm_layer(PACKAGE, "codex")


def invoke(assignment: Assignment) -> Invocation:
    # Its own sandbox can't work inside a container, and ours is the sandbox.
    argv = ["codex", "exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
    if assignment.model:
        argv += ["--model", assignment.model]
    env = {"CODEX_HOME": HOME.replace(settings.APP, assignment.app, 1)}
    if assignment.token:
        env[TOKEN] = assignment.token
    return Invocation(
        argv=(*argv, "-"),
        env=env,
        stdin=render_prompt(assignment).encode(),
        files={f"{HOME}/config.toml": dump_toml(_config(assignment)).encode()},
    )


def _config(assignment: Assignment) -> dict[str, Any]:
    config: dict[str, Any] = {
        "check_for_update_on_startup": False,
        "analytics": {"enabled": False},
        "feedback": {"enabled": False},
        "mcp_servers": by_name(_servers(assignment), headers="http_headers"),
    }
    if assignment.gateway_url:
        config["model_provider"] = "gateway"
        config["model_providers"] = {
            "gateway": {
                "name": "gateway",
                "base_url": f"{assignment.gateway_url}/v1",
                "env_key": TOKEN,
                "wire_api": "responses",
                "supports_websockets": False,  # otherwise it tries one seven times first
                "request_max_retries": 0,  # each of its stream retries would retry so often again
                "stream_max_retries": 4,
            }
        }
    return config


def _servers(assignment: Assignment) -> tuple[McpServer, ...]:
    """It knows two of the three transports, and would leave out the third without a word."""
    for server in assignment.mcp_servers:
        if server.transport == "sse":
            raise InputError(
                f"Codex can't use the MCP server {server.name}: it does not speak SSE.",
                hint="Use the server's http address if it has one (`transport: http`), or another --agent.",
            )
    return assignment.mcp_servers


AGENT = Agent(
    name="codex",
    binary="codex",
    invoke=invoke,
    reader=lambda _: Reader(),
    version=VERSION,
    dialect="openai-responses",
    install=INSTALL,
    host_install=npm_here(PACKAGE),
    install_hint=f"npm install --global {PACKAGE}",
    sessions=f"{HOME}/sessions",
)
