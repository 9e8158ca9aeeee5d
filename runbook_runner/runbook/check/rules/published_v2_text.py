"""Room `runbook`, `check`: a runbook as the published v2 validator reads it: lines, fences, `##` and `###` headings.

Its own reading, narrower than Markdown's (contract §3.4, last paragraph): sections are level-2 headings outside
fences; fences may be indented and close with the same character, at least as long, and no info string.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

MOST_LINES = 50_000
"""What comes after is not looked at; a long runbook has a thousand."""
_FENCE = re.compile(r"^\s*+(`{3,}+|~{3,}+)(.*)$")
_STEP_PREFIX = re.compile(r"^Step\s+\d+\s*[:.]\s*", re.IGNORECASE)


class Line(NamedTuple):
    number: int
    """1-based, in the file."""
    text: str
    in_fence: bool
    """The fence's own two lines included."""


@dataclass(frozen=True)
class TextFence:
    line: int
    info: str
    lines: tuple[Line, ...]
    is_closed: bool


@dataclass(frozen=True)
class TextSection:
    """A `##` section, or a `###` part of one."""

    heading: Line
    title: str
    """Without the marks and, for `##`, without `Step N:`."""
    lines: tuple[Line, ...]
    """Below the heading."""
    fences: tuple[TextFence, ...]


@dataclass(frozen=True)
class V2Text:
    lines: tuple[Line, ...]
    sections: tuple[TextSection, ...]

    def exact(self, name: str) -> TextSection | None:
        return next((s for s in self.sections if s.title.lower() == name.lower()), None)

    def starting(self, name: str) -> TextSection | None:
        return next((s for s in self.sections if s.title.lower().startswith(name.lower())), None)


def read(text: str) -> V2Text:
    lines, fences = _lines(text)
    return V2Text(lines, tuple(_sections(lines, fences, "## ")))


def parts(section: TextSection) -> tuple[TextSection, ...]:
    """The `###` parts of a section."""
    return tuple(_sections(section.lines, section.fences, "### "))


def _lines(text: str) -> tuple[tuple[Line, ...], tuple[TextFence, ...]]:
    lines: list[Line] = []
    fences: list[TextFence] = []
    opened: tuple[int, str, str] | None = None
    for number, line in enumerate(text.split("\n", MOST_LINES)[:MOST_LINES], 1):
        line = line.rstrip("\r")
        match = _FENCE.match(line) if "```" in line or "~~~" in line else None
        lines.append(Line(number, line, opened is not None or _opens(match)))
        if match is None:
            continue
        if opened is None:
            if _opens(match):
                opened = number, match[1], match[2].strip()
        elif match[1][0] == opened[1][0] and len(match[1]) >= len(opened[1]) and not match[2].strip():
            fences.append(TextFence(opened[0], opened[2], tuple(lines[opened[0] : number - 1]), True))
            opened = None
    if opened is not None:
        fences.append(TextFence(opened[0], opened[2], tuple(lines[opened[0] :]), False))
    return tuple(lines), tuple(fences)


def _opens(match: "re.Match[str] | None") -> bool:
    """An info string of back-ticks may hold none: that is a code span."""
    return match is not None and not (match[1][0] == "`" and "`" in match[2])


def _sections(lines: tuple[Line, ...], fences: tuple[TextFence, ...], mark: str) -> Iterator[TextSection]:
    starts = [index for index, line in enumerate(lines) if not line.in_fence and line.text.startswith(mark)]
    ends = [*starts[1:], len(lines)]
    position = 0
    for start, end in zip(starts, ends, strict=False):
        first, last = lines[start].number, lines[end - 1].number
        while position < len(fences) and fences[position].line < first:
            position += 1
        begin = position
        while position < len(fences) and fences[position].line <= last:
            position += 1
        title = lines[start].text[len(mark) :].strip()
        title = _STEP_PREFIX.sub("", title) if mark == "## " else title
        yield TextSection(lines[start], title, lines[start + 1 : end], fences[begin:position])
