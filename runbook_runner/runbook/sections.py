"""Room `runbook`: finding a section by its name, as the contract names them (§3.4)."""

import re
from collections.abc import Iterable

from runbook_runner.runbook.markdown import Section

_STEP = re.compile(r"step\s+\d+\b", re.IGNORECASE)
_ANY_STEP_PREFIX = re.compile(r"step\s+\d+\s*[:.)–—-]*\s*", re.IGNORECASE)


def is_step(section: Section) -> bool:
    """`## Step 3: Iterate`, `## Step 3 — Iterate`."""
    return section.level == 2 and bool(_STEP.match(section.title))


def without_step(title: str) -> str:
    """The title without its `Step N`, whatever separates the two: for people, where `Section.name` is for look-ups."""
    return _ANY_STEP_PREFIX.sub("", title, count=1).strip()


def find_exact(sections: Iterable[Section], name: str) -> Section | None:
    """The first level-2 section of just this name, in any case, with or without `Step N:` (contract §3.4, v2)."""
    return next((s for s in sections if s.level == 2 and s.name == name.lower()), None)


def subsections(sections: Iterable[Section], of: Section, level: int) -> tuple[Section, ...]:
    """Those of one level inside another section, in order."""
    return tuple(s for s in sections if s.level == level and of.line < s.line <= of.end_line)


def find(sections: Iterable[Section], name: str, *, prefix: bool = False) -> Section | None:
    """The first section of this name, level 2 preferred; with `prefix` more may follow the name."""
    name = name.lower()
    fits = [s for s in sections if (s.name.startswith(name) if prefix else s.name == name)]
    return min(fits, key=lambda section: section.level != 2, default=None)
