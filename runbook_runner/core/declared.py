"""Core: what a runbook declares and a RunSpec carries: secrets, outputs, code blocks, MCP servers. Plain data, quick to
import."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal


class Declared:
    """Base of the parts that are read back from a `spec.json`: pydantic refuses keys that they do not have."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True)
class Secret(Declared):
    """A secret by name; its value is never in a spec (contract §3.3)."""

    name: str
    env: str
    """Variable that holds the value on the host and, when forwarded, in the sandbox."""
    required: bool = True
    description: str = ""
    expose_to_agent: bool | None = None
    """`None`: the runbook does not say; the runner decides."""


@dataclass(frozen=True)
class RequiredOutput(Declared):
    """One row of REQUIRED OUTPUT FILES (contract §3.5)."""

    path: str
    """Relative to the results directory; `*` and `<…>` parts are patterns."""
    description: str = ""


@dataclass(frozen=True)
class Block(Declared):
    """One fenced code block under a `## Step` heading of the mission."""

    heading: str
    language: str
    """First word of the fence's info string, lower case; empty when there is none."""
    code: str
    line: int
    """1-based line of the opening fence in the mission."""


@dataclass(frozen=True)
class McpServer(Declared):
    """An MCP server that the agent may use (contract §3.2). In a spec it names secrets and never holds their values."""

    name: str
    transport: Literal["stdio", "http", "sse"]
    command: str | None = None
    """For stdio."""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    url: str | None = None
    """For http and sse."""
    headers: Mapping[str, str] = field(default_factory=dict)
    secret: str | None = None
    """Name of the declared secret it uses; hidden from the agent (contract §3.3)."""
