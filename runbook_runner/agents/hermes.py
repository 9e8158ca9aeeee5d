"""Agents: Hermes, headless. Configuration, hooks and traps as seen with the pinned version (field notes §5.5).

Its one-shot mode prints nothing but the last answer, so a plug-in (`hermes_plugin.py`, put into its home) prints what
its hooks tell, one JSON object a line.
"""

import json
from importlib import resources
from typing import Any, Final

from runbook_runner.agents import Agent, Assignment, Invocation
from runbook_runner.agents.hermes_reader import Reader
from runbook_runner.agents.install import uv_layer
from runbook_runner.agents.install_here import uv_here
from runbook_runner.agents.mcp import by_name
from runbook_runner.agents.prompt import render_prompt
from runbook_runner.core import settings

VERSION = "0.19.0"
PACKAGE = f"hermes-agent[mcp]=={VERSION}"
HOME = f"{settings.PRIVATE}/hermes"
TOKEN = "RUNBOOK_GATEWAY_TOKEN"  # noqa: S105 (the variable's name)
PROMPT_FILE = f"{HOME}/prompt.md"
CONTEXT_TOKENS: Final = 200_000  # it would ask six catalogues otherwise, and wait for those it can't reach
_MAX_ARGUMENT: Final = 100_000  # bytes; Linux allows 128 KiB

INSTALL = uv_layer(PACKAGE, "hermes")


def invoke(assignment: Assignment) -> Invocation:
    prompt = render_prompt(assignment)
    files = {
        f"{HOME}/config.yaml": json.dumps(_config(assignment), indent=1).encode(),  # JSON is YAML
        f"{HOME}/plugins/runbook/plugin.yaml": b"name: runbook\nversion: '1'\n",
        f"{HOME}/plugins/runbook/__init__.py": _plugin(),
    }
    if len(prompt.encode()) > _MAX_ARGUMENT:
        files[PROMPT_FILE] = prompt.encode()
        where = PROMPT_FILE.replace(settings.APP, assignment.app, 1)
        prompt = f"Read the whole file {where} now and carry it out, from its first step to its last."
    argv = ["hermes", "-z", prompt, "--yolo"]
    if assignment.model:
        argv += ["--model", assignment.model, "--provider", "gateway"]
    env = {"HERMES_HOME": HOME.replace(settings.APP, assignment.app, 1), "TERMINAL_ENV": "local"}
    if assignment.token:
        env[TOKEN] = assignment.token
    return Invocation(argv=tuple(argv), env=env, files=files)


def _plugin() -> bytes:
    return resources.files("runbook_runner.agents").joinpath("hermes_plugin.py").read_bytes()


def _config(assignment: Assignment) -> dict[str, Any]:
    config: dict[str, Any] = {
        "toolsets": ["hermes-cli"],
        "plugins": {"enabled": ["runbook"]},
        # What outlives a run, or happens beside it: none of it makes sense in a sandbox that is thrown away.
        "memory": {"memory_enabled": False, "user_profile_enabled": False, "nudge_interval": 0},
        "skills": {"creation_nudge_interval": 0},
        "curator": {"enabled": False},
        "model_catalog": {"enabled": False},
        "security": {"allow_lazy_installs": False},
        "terminal": {"backend": "local", "env_passthrough": list(assignment.secret_names)},
        "mcp_servers": _servers(assignment),
    }
    if assignment.gateway_url and assignment.model:
        limits = {"context_length": CONTEXT_TOKENS}
        config["model"] = {"default": assignment.model, "provider": "gateway", **limits}
        config["providers"] = {
            "gateway": {
                "name": "gateway",
                "base_url": f"{assignment.gateway_url}/v1",
                "key_env": TOKEN,
                "api_mode": "chat_completions",
                "models": {assignment.model: limits},
            }
        }
    return config


def _servers(assignment: Assignment) -> dict[str, dict[str, Any]]:
    """A remote server speaks the newer of the two protocols unless it is said."""
    servers = by_name(assignment.mcp_servers)
    for server in assignment.mcp_servers:
        if server.transport == "sse":
            servers[server.name]["transport"] = "sse"
    return servers


AGENT = Agent(
    name="hermes",
    binary="hermes",
    invoke=invoke,
    reader=lambda _: Reader(),
    version=VERSION,
    dialect="openai-chat",
    install=INSTALL,
    host_install=uv_here(PACKAGE, "hermes"),
    install_hint=f"uv tool install '{PACKAGE}'",
    session_db=f"{HOME}/state.db",
)
