"""Room `runbook`: how often a runbook may try again, and the fixes it suggests (contract §3.4 row 9, §3.8)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from runbook_runner.runbook.markdown.blocks import Outline, Section
from runbook_runner.runbook.markdown.lists import list_items
from runbook_runner.runbook.parts.sections import find

_WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
_NUMBER = rf"(?P<n>\d{{1,6}}|{'|'.join(_WORDS)})"
_BOUND = re.compile(
    rf"\b(?:max(?:imum)?(?: of)?|up to|at most|no more than)\s+{_NUMBER}\s+"
    r"(?:\w+\s+)?(?:round|iteration|attempt|time|retr|pass|cycle|loop)\w*",
    re.IGNORECASE,
)
_FIX_COLUMNS = ("fix", "solution", "resolution", "remedy", "action")
_MARKS = re.compile(r"`([^`]*)`|[*`]|(?<!\w)_+|_+(?!\w)")
"""Of emphasis and code; what is in code is kept, and so is an underscore in a word."""
_SPLIT = re.compile(r"(?:(?<!\s)\s++)?(?:→|->|=>|—|–|:)\s+")


@dataclass(frozen=True)
class IterationBound:
    rounds: int
    line: int
    text: str
    """The words that say so: `max 3 rounds`."""


@dataclass(frozen=True)
class CommonFix:
    issue: str
    fix: str
    """Empty when the author put all in one sentence."""
    line: int


def read_bounds(outline: Outline) -> tuple[IterationBound, ...]:
    """Every bound that is stated: in the Iterate sections first (their headings before their text), then elsewhere."""
    sections = [s for s in outline.sections if s.level == 2]
    sections.sort(key=lambda section: not section.name.startswith("iterate"))
    found: dict[tuple[int, str], IterationBound] = {}
    for section in sections:
        for bound in (*_in(section.title, section.line), *_in(section.text, section.text_line)):
            found.setdefault((bound.line, bound.text), bound)
    return tuple(found.values())


def _in(text: str, first_line: int) -> Iterator[IterationBound]:
    line, counted = first_line, 0
    for match in _BOUND.finditer(text):
        line += text.count("\n", counted, match.start())
        counted = match.start()
        word = match["n"].lower()
        yield IterationBound(_WORDS.get(word) or int(word), line, " ".join(match[0].split()))


def read_common_fixes(outline: Outline) -> tuple[CommonFix, ...]:
    """The section's tables (`Issue | Fix`), or its list (`**Issue**: fix`, `issue → fix`)."""
    section = find(outline.sections, "common fixes", prefix=True)
    if section is None:
        return ()
    return tuple(_rows(outline, section)) or tuple(_listed(section))


def _rows(outline: Outline, section: Section) -> Iterator[CommonFix]:
    for table in outline.tables_in(section):
        names = [cell.text.lower() for cell in table.header.cells]
        column = next((i for i, name in enumerate(names) if i and any(word in name for word in _FIX_COLUMNS)), None)
        for row in table.rows:
            cells = row.cells[1:] if column is None else (row.cells[column],)
            if row.cells[0].text:
                yield CommonFix(row.cells[0].text, " — ".join(cell.text for cell in cells if cell.text), row.line)


def _listed(section: Section) -> Iterator[CommonFix]:
    for item in list_items(section.text, section.text_line):
        issue, *fix = _SPLIT.split(_MARKS.sub(lambda mark: mark[1] or "", item.text), maxsplit=1)
        if issue:
            yield CommonFix(issue.rstrip(":"), "".join(fix), item.line)
