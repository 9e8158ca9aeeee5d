"""Room `runbook`, `check`: what a rule says (`Hit`), what a user sees (`Finding`), and what mends it (`Edit`)."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from runbook_runner.runbook.check.rules.subject import Subject

Severity = Literal["error", "warning"]


class Edit(NamedTuple):
    """Replaces `text[start:end]`; character offsets of the whole file, a byte order mark included."""

    start: int
    end: int
    text: str


class Hit(NamedTuple):
    """One place where a rule does not hold. Lines and columns are 1-based; columns count characters."""

    line: int
    column: int
    message: str
    hint: str = ""
    edits: tuple[Edit, ...] = ()
    """What mends it without changing what the runbook means; empty: nobody but the author can."""


class Rule(NamedTuple):
    id: str
    """Stable: `RB` and three digits; the hundred says what it is about."""
    name: str
    severity: Severity
    summary: str
    """What it asks for, one line."""
    check: "Callable[[Subject], Iterable[Hit]]"
    fixable: bool = False
    default: bool = True
    """Whether it applies when nobody selects it by name."""


class Finding(NamedTuple):
    file: str
    line: int
    column: int
    rule: str
    severity: Severity
    message: str
    hint: str = ""
    edits: tuple[Edit, ...] = ()

    @property
    def fixable(self) -> bool:
        return bool(self.edits)


def matches(rule_id: str, codes: Iterable[str]) -> bool:
    """Whether one of the codes is the rule's id or a beginning of it: `RB301`, `RB3`, `RB`."""
    return any(rule_id.startswith(code) for code in codes)


Hits = Iterator[Hit]
