"""Agents: the data that describes an agent, what it gets to do its work, and the protocol of reading its output."""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from runbook_runner.agents.install import NOT_INSTALLED, Installation
from runbook_runner.core import settings
from runbook_runner.core.declared import Block, McpServer
from runbook_runner.core.events import Event, Usage
from runbook_runner.core.facts.agents import AgentFacts

GATEWAY_TOKEN: Final = "RUNBOOK_GATEWAY_TOKEN"  # noqa: S105 (the variable's name)
"""Holds the token in the environment of a CLI that lets its configuration choose the variable."""

SILENCE_S: Final = 1000
"""So long a CLI waits for a silent model; the gateway gives the provider up after 900 s, and says so."""


@dataclass(frozen=True)
class AgentInput:
    """What one run gives its agent, in terms of the sandbox that the agent works in."""

    mission: str
    """The rendered runbook; its paths are those of the sandbox."""
    app: str
    """Where `/app` is for the agent's process."""
    blocks: tuple[Block, ...] = ()
    """Code blocks under the runbook's `## Step` headings, for an agent that runs blocks."""
    model: str | None = None
    gateway_url: str | None = None
    """Base URL of the model endpoint; `None` for an agent without a dialect."""
    token: str | None = None
    """Opens the gateway, for this run only."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The values of this run; a mission without placeholders shows only defaults."""
    input_names: tuple[str, ...] = ()
    secret_names: tuple[str, ...] = ()
    """Variables that are set in the agent's environment."""
    mcp_servers: tuple[McpServer, ...] = ()
    """With the values of their secrets: for configuration files, which are not collected."""
    key: str = field(default_factory=lambda: secrets.token_hex(32))
    """Random, as hexadecimal digits: with it a driver signs its own lines, which what it runs must not be able to."""

    def local(self, path: str) -> str:
        """Where a sandbox path below `/app` is for the agent's process."""
        return path.replace(settings.APP, self.app, 1)


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
    """What the agent itself reports of its end."""

    text: str = ""
    usage: Usage | None = None
    """From the CLI's final record only; `None` when there was none."""
    error: str | None = None
    error_kind: str | None = None
    """A kind of `failures.KINDS`, or the agent's own word."""
    output: str = ""
    """What the command printed whose failure is the error: its last line is added to the error."""
    servers_down: tuple[str, ...] = ()
    """MCP servers that the CLI says it could not use."""


class StreamReader(Protocol):
    """Turns an agent's output lines into events. Never raises: an unknown record becomes an AgentNotice."""

    finished: bool
    """The final record has come: the process has nothing more to do and may be ended after a grace period."""
    waits: bool
    """The final record has come, but the agent waits for a background process that it started; it works on, or leaves,
    when that process ends."""

    def feed(self, line: str) -> Iterator[Event]:
        """The events of one line of stdout, without its line end."""
        ...

    def rest(self) -> Iterator[Event]:
        """The events that are left after the last line."""
        ...

    def result(self, exit_code: int | None) -> Result:
        """To be called after the last line. exit_code is `None` when the process was killed."""
        ...


@dataclass(frozen=True)
class Declared:
    """The file of a project that declares an agent."""

    path: Path
    digest: str
    """SHA-256 of its content, in hex."""


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
    install: Installation = NOT_INSTALLED
    sessions: str | None = None
    """Sandbox folder with its own session files, which are collected after the run."""
    session_db: str | None = None
    """Sandbox path of its SQLite database of sessions, for an agent that has one; it is collected as text."""
    failed_calls: Callable[[Sequence[Any]], Iterable[str]] = lambda _: ()
    """The messages of a request → ids of the tool calls that failed, for a CLI whose stream does not tell that."""
    errors: tuple[tuple[str, str], ...] = ()
    """(regular expression, kind of failure), searched in its errors and its stderr before those of `failures`."""
    volatile_output: tuple[str, ...] = ()
    """Regular expressions, to be searched in linear time, whose groups are what the CLI itself puts into the output of
    a tool and what differs from run to run. Nothing that the model may use later, such as a path or a process."""
    logged: Callable[[str], str] = "{}\n".format
    """A line of its output → what stands for it in `agent/stdout.log`."""
    declared: Declared | None = None
    """`None`: it is built in, or of a package that the user has installed."""

    @property
    def name(self) -> str:
        return self.facts.name

    @property
    def dialect(self) -> str | None:
        """The model API it speaks; `None`: it calls no model through the gateway."""
        return self.facts.dialect
