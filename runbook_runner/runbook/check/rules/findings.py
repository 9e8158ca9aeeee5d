"""Room `runbook`, `check`: what a rule finds (`Hit`), what a user sees (`Finding`), and what fixes it (`Edit`)."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

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
    """What fixes it without changing what the runbook means; empty when only the author can."""


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
