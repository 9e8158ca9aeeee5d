"""Core: what a runbook declares and a RunSpec carries: secrets, outputs, code blocks, MCP servers. Plain data, quick to
import: `runbook check` makes some of it, and the module `dataclasses` alone would take 6 ms. In JSON they are objects:
`spec.AsObject`."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final, Literal, NamedTuple

SECRET_PLACE: Final = re.compile(r"\$\{(\w+)\}|\{\{\s*secrets\.(\w+)\s*\}\}")
"""Where the frontmatter of an MCP server puts the value of a secret: `${NAME}` or `{{secrets.NAME}}`."""


class Secret(NamedTuple):
    """A secret by name; its value is never in a spec (contract §3.3)."""

    name: str
    env: str
    """Variable that holds the value on the host and, when forwarded, in the sandbox."""
    required: bool = True
    description: str = ""
    expose_to_agent: bool | None = None
    """`None`: the runbook does not say; the runner decides."""
    expose_to_checks: bool = False
    """The checks that the engine runs get it, also when the agent does not."""


class RequiredOutput(NamedTuple):
    """One row of REQUIRED OUTPUT FILES (contract §3.5)."""

    path: str
    """Relative to the results directory; `*` and `<…>` parts are patterns. As it is spelled when it is elsewhere."""
    description: str = ""

    @property
    def is_elsewhere(self) -> bool:
        """Outside of the results directory: no run can deliver it."""
        return self.path.startswith(("/", "~/")) or ".." in PurePosixPath(self.path).parts


class Block(NamedTuple):
    """One fenced code block under a `## Step` heading."""

    heading: str
    language: str
    """First word of the fence's info string, lower case; empty when there is none."""
    code: str
    line: int
    """1-based line of the opening fence in the runbook."""


def placed_secrets(text: str) -> set[str]:
    return {match[1] or match[2] for match in SECRET_PLACE.finditer(text)}


class McpServer(NamedTuple):
    """An MCP server that the agent may use (contract §3.2). In a spec it names secrets and never holds their values."""

    name: str
    transport: Literal["stdio", "http", "sse"]
    command: str | None = None
    """For stdio."""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    url: str | None = None
    """For http and sse."""
    headers: Mapping[str, str] = {}
    secret: str | None = None
    """Name of the declared secret it uses; hidden from the agent (contract §3.3)."""

    @property
    def secrets(self) -> frozenset[str]:
        """Names of the secrets that it uses: its own, and those that its words place."""
        words = (*self.args, *self.env.values(), self.url or "", *self.headers.values())
        own = {self.secret} if self.secret else set()
        return frozenset(own.union(*map(placed_secrets, words)))
