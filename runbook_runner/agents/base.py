"""Agents: what an agent is: the data that describes a CLI, what it is asked to do, and how its output is read."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from runbook_runner.agents.install import HostInstall
from runbook_runner.core.agent_facts import AgentFacts
from runbook_runner.core.declared import Block, McpServer
from runbook_runner.core.events import Event, Usage


@dataclass(frozen=True)
class AgentInput:
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
    """A kind of `failures.KINDS`, or what the agent itself calls it."""


class StreamReader(Protocol):
    """Turns an agent's output lines into events. Never raises: what it does not know it passes on as AgentNotice."""

    finished: bool
    """The final record has come: the process has nothing more to do and may be ended after a grace period."""
    waits: bool
    """The final record has come, but something that the agent started goes on: it leaves, or works on, when that has
    ended."""

    def feed(self, line: str) -> Iterator[Event]:
        """One line of stdout, without its line end."""
        ...

    def rest(self) -> Iterator[Event]:
        """After the last line: what was waiting for more."""
        ...

    def result(self, exit_code: int | None) -> Result:
        """After the last line. exit_code is `None` when the process was killed."""
        ...


@dataclass(frozen=True)
class Agent:
    facts: AgentFacts
    binary: str
    """The program, as found on PATH."""
    invoke: Callable[[AgentInput], Invocation]
    """Raises InputError when the mission has nothing for this agent."""
    reader: Callable[[AgentInput], StreamReader]
    version: str | None = None
    """The pinned version in our images."""
    install: str = ""
    """Dockerfile instructions that add it to a snapshot; empty: any image will do."""
    host_install: HostInstall | None = None
    """How to install it for one user of a host; `None`: that is left to them."""
    install_hint: str = ""
    """The command that installs it on a host."""
    sessions: str | None = None
    """Sandbox folder with its own session files, collected after the run."""
    session_db: str | None = None
    """Sandbox path of the SQLite database with its sessions, where it keeps them in one; collected as text."""
    errors: tuple[tuple[str, str], ...] = ()
    """(regular expression, kind of failure) for what its errors and its stderr say; `failures` knows the usual ones."""

    @property
    def name(self) -> str:
        return self.facts.name

    @property
    def dialect(self) -> str | None:
        """The model API it speaks; `None`: it calls no model through the gateway."""
        return self.facts.dialect
