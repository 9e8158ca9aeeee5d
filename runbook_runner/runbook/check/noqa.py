"""Room `runbook`, `check`: `<!-- noqa: RB301 -->`, where the author knows better.

On a line it covers that line; alone on a line it covers the next one that is not empty, and all of the code block or
table that begins there. `<!-- noqa-file: RB4 -->` covers the file, `# noqa: RB104` a line of the frontmatter. Without
codes it covers every rule.
"""

import re
from itertools import islice
from typing import NamedTuple

from runbook_runner.runbook.check.rules.findings import matches
from runbook_runner.runbook.check.rules.subject import Subject

_COMMENT = re.compile(r"<!--[ \t]*+(noqa(?:-file)?)\b[ \t]*+(?:(?=:)([^<>\n]*+)|--)>", re.IGNORECASE)
_IN_YAML = re.compile(r"#[ \t]*(noqa)\b[ \t]*(?::[ \t]*([\w, \t]{0,500}))?", re.IGNORECASE)
_EVERY = ("RB",)
_LONGEST = 500  # characters of codes
_MOST = 1_000  # comments of one file that count


class Exemptions(NamedTuple):
    whole: list[str]
    """Codes for the whole file."""
    lines: list[tuple[int, int, tuple[str, ...]]]
    """First line, last line, codes."""

    def covers(self, rule_id: str, line: int) -> bool:
        if matches(rule_id, self.whole):
            return True
        return any(first <= line <= last and matches(rule_id, codes) for first, last, codes in self.lines)


def exemptions(subject: Subject) -> Exemptions:
    found = Exemptions([], [])
    if "noqa" not in subject.text and "NOQA" not in subject.text:
        return found
    for match in islice(_COMMENT.finditer(subject.text), _MOST):
        if match[2] and not match[2].endswith("--"):
            continue
        codes = _codes(match[2])
        if match[1].lower() == "noqa-file":
            found.whole.extend(codes)
        else:
            found.lines.append((*_covered(subject, match), codes))
    if subject.problem is None:
        for match in islice(_IN_YAML.finditer(subject.text, 0, subject.body_start), _MOST):
            line = subject.at(match.start(), "").line
            found.lines.append((line, line, _codes(match[2])))
    return found


def _codes(text: str | None) -> tuple[str, ...]:
    return tuple(re.findall(r"RB\d{0,3}", (text or "")[:_LONGEST].upper())) or _EVERY


def _covered(subject: Subject, match: "re.Match[str]") -> tuple[int, int]:
    line = subject.at(match.start(), "").line
    if subject.line(line).strip() != match[0]:
        return line, line
    first = line + 1
    while first < subject.last_line and not subject.line(first).strip():
        first += 1
    return line, _block_end(subject, first)


def _block_end(subject: Subject, first: int) -> int:
    """The last line of the fence or table that begins on this line; else the line itself."""
    if subject.problem is None:
        outline = subject.runbook.outline
        for fence in outline.fences:
            if fence.line == first:
                return fence.end_line
        for table in outline.tables:
            if table.line == first:
                return max((row.line for row in table.rows), default=first)
    return first
