"""Room `runbook`: sections found by their names, as the contract names them (§3.4), and the marks of a v1 file."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from runbook_runner.runbook.markdown.blocks import Section

BANNER = "FINAL OUTPUT VERIFICATION"
"""What a v1 verification script prints first (contract §3.16)."""
_FINAL_HEADING = re.compile(r"^## (?:Step [0-9]+: )?Final Checklist", re.MULTILINE)
# An emoji may come before it; of a number with thousands of digits the beginning is enough.
_STEP = re.compile(r"\W{0,8}step\s+(\d{1,9})\d*((?:\.\d+)*(?:[a-z]\b)?)\b", re.IGNORECASE)
_SEPARATOR = re.compile(r"\s*[:.)–—-]*\s*")


class StepNumber(NamedTuple):
    number: int
    part: str
    """`a` of `Step 2a`, `.1` of `Step 2.1`; usually empty."""


def is_step(section: Section) -> bool:
    """`## Step 3: Iterate`, `## Step 3 — Iterate`, `## Step 3b: Iterate`, `## 🔧 Step 3: Iterate`."""
    return section.level == 2 and bool(_STEP.match(section.title))


def step_number(title: str) -> StepNumber | None:
    """Of a step's title."""
    match = _STEP.match(title)
    return StepNumber(int(match[1]), match[2]) if match else None


def without_step(title: str) -> str:
    """The title without its `Step N`, whatever separates the two: for people, where `Section.name` is for look-ups."""
    match = _STEP.match(title)
    return _SEPARATOR.sub("", title[match.end() :], count=1).strip() if match else title


def is_final_checklist(section: Section) -> bool:
    """A v1 Final Checklist (contract §3.16), with any separator between `Step 7` and the name."""
    return re.sub(r"\A\W+", "", without_step(section.title)).lower().startswith("final checklist")


def is_judging(section: Section) -> bool:
    """Code Checks, Checklist, or Final Checklist: how a run is judged, and nothing that an agent carries out."""
    return section.name in ("code checks", "checklist") or is_final_checklist(section)


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


def has_v1_marks(text: str) -> bool:
    """Whether the v2 validator refuses it (contract §3.13 row 3): the banner, or a Final Checklist heading."""
    return BANNER in text or _FINAL_HEADING.search(text) is not None
