"""Agents: who works in the sandbox. One module per CLI; each holds one `AGENT`, which is mostly data.

To add an agent of ours, write a module with an `AGENT` and name it in `_MODULES`. Others are declared in a file (see
`declaration`) or come with a package (see `discovery`).
"""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from runbook_runner.agents.install_here import HostInstall
from runbook_runner.core.declared import Block, McpServer
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import Event, Usage


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


_MODULES = {
    "claude-code": "runbook_runner.agents.claude_code",
    "codex": "runbook_runner.agents.codex",
    "gemini-cli": "runbook_runner.agents.gemini_cli",
    "hermes": "runbook_runner.agents.hermes",
    "opencode": "runbook_runner.agents.opencode",
    "shell": "runbook_runner.agents.shell",
}


def known_agents(near: Sequence[Path | str] = ()) -> tuple[str, ...]:
    """Names. near: folders from which upwards `.runbook/agents` is looked for."""
    from runbook_runner.agents.discovery import declared_files, packaged

    return tuple(sorted({*_MODULES, *declared_files(near), *packaged()}))


def is_ours(name: str) -> bool:
    return name in _MODULES


def find_agent(name: str, near: Sequence[Path | str] = ()) -> Agent:
    """The agent of that name, in any case: ours, else one declared in a file near, else one of a package.
    Raises InputError that lists the known ones, or says what is wrong with a file."""
    name = name.strip().lower()
    if name in _MODULES:
        agent = import_module(_MODULES[name]).AGENT
        assert isinstance(agent, Agent)
        return agent
    from runbook_runner.agents.discovery import declared_files, load_packaged, packaged

    if path := declared_files(near).get(name):
        from runbook_runner.agents.custom import load_agent

        return load_agent(path)
    if point := packaged().get(name):
        return load_packaged(point)
    known = known_agents(near)
    close = get_close_matches(name, known, n=1)
    hint = f"Known agents: {', '.join(known)}."
    raise InputError(f"Unknown agent {name!r}.", hint=f"Did you mean {close[0]!r}? {hint}" if close else hint)
