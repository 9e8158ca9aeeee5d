"""Agents: who works in the sandbox. One module per CLI; each holds one `AGENT`, which is mostly data.

To add an agent, write a module with an `AGENT` and name it in `_MODULES`.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

from runbook_runner.declared import Block, McpServer
from runbook_runner.errors import InputError
from runbook_runner.events import Event, Usage


@dataclass(frozen=True)
class Assignment:
    """What an agent is asked to do, in terms of the sandbox it will do it in."""

    mission: str
    """The rendered runbook; paths are already those of the sandbox."""
    app: str
    """Where `/app` is for the agent's process."""
    blocks: tuple[Block, ...] = ()
    """Code blocks under the mission's `## Step` headings."""
    model: str | None = None
    gateway_url: str | None = None
    """Base URL of the model endpoint; `None` for an agent without a dialect."""
    token: str | None = None
    """Opens the gateway, for this run only."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """What this run was given; a mission without placeholders shows only defaults."""
    input_names: tuple[str, ...] = ()
    secret_names: tuple[str, ...] = ()
    """Variables the agent will find in its environment."""
    mcp_servers: tuple[McpServer, ...] = ()
    """With the values of their secrets: for configuration files that nobody collects."""
    mark: str = field(default_factory=lambda: secrets.token_hex(16))
    """A random word; sets a driver's own lines apart from the output it carries."""


@dataclass(frozen=True)
class Invocation:
    """One process to start."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes | None = None
    """`None`: closed at once."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Sandbox path (below `/app`) → content, put there before the start."""


@dataclass(frozen=True)
class Result:
    """What the agent itself said about its end."""

    text: str = ""
    usage: Usage | None = None
    """From the CLI's final record only; `None` when there was none."""
    error: str | None = None
    error_kind: str | None = None
    """`authentication`, `rate_limit`, `overloaded`, `network`, `crashed`, …"""


class StreamReader(Protocol):
    """Turns an agent's output lines into events. Never raises: what it does not know it passes on as AgentNotice."""

    finished: bool
    """The final record has come: the process has nothing more to do and may be ended after a grace period."""

    def feed(self, line: str) -> Iterator[Event]:
        """One line of stdout, without its line end."""
        ...

    def result(self, exit_code: int | None) -> Result:
        """After the last line. exit_code is `None` when the process was killed."""
        ...


@dataclass(frozen=True)
class Agent:
    name: str
    binary: str
    """The program, as found on PATH."""
    invoke: Callable[[Assignment], Invocation]
    """Raises InputError when the mission has nothing for this agent."""
    reader: Callable[[Assignment], StreamReader]
    version: str | None = None
    """The pinned version in our images."""
    dialect: str | None = None
    """The model API it speaks; `None`: it needs no model."""
    install: str = ""
    """Dockerfile instructions that add it to a snapshot; empty: any image will do."""
    install_hint: str = ""
    """The command that installs it on a host."""
    sessions: str | None = None
    """Sandbox folder with its own session files, collected after the run."""


_MODULES = {
    "claude-code": "runbook_runner.agents.claude_code",
    "codex": "runbook_runner.agents.codex",
    "gemini-cli": "runbook_runner.agents.gemini_cli",
    "hermes": "runbook_runner.agents.hermes",
    "opencode": "runbook_runner.agents.opencode",
    "shell": "runbook_runner.agents.shell",
}


def known_agents() -> tuple[str, ...]:
    return tuple(sorted(_MODULES))


def find_agent(name: str) -> Agent:
    """The agent of that name, in any case. Raises InputError that lists the known ones."""
    module = _MODULES.get(name.strip().lower())
    if module is None:
        raise InputError(f"Unknown agent {name!r}.", hint=f"Known agents: {', '.join(known_agents())}.")
    agent = import_module(module).AGENT
    assert isinstance(agent, Agent)
    return agent
