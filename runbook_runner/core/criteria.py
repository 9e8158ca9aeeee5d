"""Core: how a run is judged, as its runbook declares it: plain data that a RunSpec carries to the machine that judges.

All lines are 1-based lines of the runbook.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

from runbook_runner.core.settings import DEFAULT_CHECK_TIMEOUT_S, MAX_CHECK_TIMEOUT_S

Kind = Literal["command", "builtin", "agent"]
Executor = Literal["jetty", "agent"]
Use = Literal[
    "file_exists", "min_size", "json_valid", "regex_present", "regex_absent", "markdown_relative_links_resolve"
]
MAX_MIN_SIZE: Final = 1 << 50
MAX_CHECK_ID: Final = 200  # characters
_CHECK_ID: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_CHECK_ID - 1}}}")


class Declared:
    """Base of the parts that are read back from a `spec.json`: pydantic refuses keys that they do not have, and makes
    the ValueError of a `__post_init__` one of its own. (This module does not import it: `runbook check` is quick.)"""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True)
class Level(Declared):
    score: float
    label: str
    """The column's title: `5 (Excellent)`."""
    text: str


@dataclass(frozen=True)
class Criterion(Declared):
    id: str
    """What a v2 report calls it: the slug of its name (contract §3.10)."""
    name: str
    levels: tuple[Level, ...]
    """In the table's order, best first by convention."""
    weight: float | None
    """`None`: the table has no such column or no number in it. `30%` is 0.3."""
    line: int


@dataclass(frozen=True)
class Rubric(Declared):
    criteria: tuple[Criterion, ...]
    average: float
    """The overall average that passes."""
    minimum: float
    """What no criterion may be below."""
    is_stated: bool
    """The text gives at least one of the thresholds; else both are the contract's."""
    line: int
    """Of the table."""


@dataclass(frozen=True)
class Status(Declared):
    name: str
    """As it is written: `PASS`; authors add others."""
    criteria: str
    line: int


@dataclass(frozen=True)
class ChecklistItem(Declared):
    id: str
    """What a v2 report calls it (contract §3.10): the text in lower case, all else than letters and digits as `-`."""
    text: str
    """Verbatim, on one line."""
    line: int
    checked: bool


@dataclass(frozen=True)
class BuiltIn(Declared):
    use: Use
    """Which of the built-in checks (contract §3.11)."""
    files: str
    """Path or glob, relative to the results directory."""
    is_glob: bool
    bytes: int | None = None
    """For `min_size`; at most MAX_MIN_SIZE."""
    pattern: str | None = None
    """For the regex pair; Python's syntax."""

    def __post_init__(self) -> None:
        if self.bytes is not None and not 0 <= self.bytes <= MAX_MIN_SIZE:
            raise ValueError(f"bytes must be from 0 to {MAX_MIN_SIZE}")


@dataclass(frozen=True)
class CodeCheck(Declared):
    id: str
    """Empty when the heading is not of the form `### <id> — <name>`."""
    name: str
    """The whole heading when it is not of that form."""
    line: int
    kind: Kind | None
    """`None`: there is no fence, or one in a language that means nothing here."""
    executor: Executor | None
    """Who runs it; `None` where `problem` says why it can't be run."""
    info: str
    """The fence's info string."""
    code: str
    code_line: int | None
    """Line of the opening fence; `None` without one."""
    builtin: BuiltIn | None = None
    """What the block of a built-in says; `None` for the other kinds and where `problem` says what is wrong with it."""
    problem: str = ""
    """Why the check can only be recorded as `error`; empty when it can be run."""
    is_repeat: bool = False
    """An earlier check has this id: this one does not count."""

    def __post_init__(self) -> None:
        if self.id and not _CHECK_ID.fullmatch(self.id):
            raise ValueError("id is not that of a check")

    @property
    def counts(self) -> bool:
        return bool(self.id) and not self.is_repeat


@dataclass(frozen=True)
class CheckSource(Declared):
    """A git repository cloned to `/app/checks/<name>`."""

    name: str
    url: str
    ref: str | None = None
    secret: str | None = None
    """Name of the declared secret that opens it; hidden from the agent (contract §3.3)."""


@dataclass(frozen=True)
class ChecksConfig(Declared):
    line: int | None = None
    """Of the key; `None`: the file has none and all below are defaults."""
    timeout_s: int = DEFAULT_CHECK_TIMEOUT_S
    """Per check; at most 900."""
    sources: tuple[CheckSource, ...] = ()
    mcp_servers: Mapping[str, Any] = field(default_factory=dict)
    references: tuple[str, ...] = ()
    executor: Executor = "jetty"
    """Default for command checks; of the old revision only."""

    def __post_init__(self) -> None:
        if not 1 <= self.timeout_s <= MAX_CHECK_TIMEOUT_S:
            raise ValueError(f"timeout_s must be from 1 to {MAX_CHECK_TIMEOUT_S}")


@dataclass(frozen=True)
class VerificationScript(Declared):
    code: str
    language: str
    line: int
    """Of the opening fence."""


@dataclass(frozen=True)
class Criteria(Declared):
    """Everything that a runbook says about how its run is judged, apart from the required outputs."""

    generation: Literal[1, 2] = 1
    """2: the engine runs the code checks and computes the verdict (contract §3.11, end)."""
    strict: bool = False
    """A check that the agent was to run and does not report is an error."""
    rubric: Rubric | None = None
    statuses: tuple[Status, ...] = ()
    checklist: tuple[ChecklistItem, ...] = ()
    is_short_form: bool = False
    """The checklist is what the short form calls done (contract §3.4, end): a judge can decide it."""
    code_checks: tuple[CodeCheck, ...] = ()
    """Those that do not count are left out."""
    checks: ChecksConfig = ChecksConfig()
    verification: VerificationScript | None = None
    problem: str = ""
    """Why the code checks could not be read; empty when they could."""

    def __post_init__(self) -> None:
        if not all(check.counts for check in self.code_checks):
            raise ValueError("code_checks must have an id each, and no repeats")
