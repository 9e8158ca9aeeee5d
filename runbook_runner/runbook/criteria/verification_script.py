"""Room `runbook`: the verification script of a v1 Final Checklist (contract §3.16), and the marks of a v1 file."""

import re

from runbook_runner.core.criteria import VerificationScript
from runbook_runner.runbook.markdown.blocks import Fence, Outline
from runbook_runner.runbook.parts.sections import find
from runbook_runner.runbook.parts.steps import language_of

BANNER = "FINAL OUTPUT VERIFICATION"
_SHELLS = frozenset({"", "bash", "sh", "shell"})
_FINAL_HEADING = re.compile(r"^## (?:Step [0-9]+: )?Final Checklist", re.MULTILINE)


def read_verification(outline: Outline) -> VerificationScript | None:
    """The shell block under `Verification Script`, else the first one that prints the banner."""
    section = find(outline.sections, "verification script", prefix=True)
    own = outline.fences_in(section) if section else ()
    fence = next(filter(_is_shell, own), None) or next(filter(_prints_banner, outline.fences), None)
    return VerificationScript(fence.code, language_of(fence.info), fence.line) if fence else None


def has_v1_marks(body: str) -> bool:
    """What the v2 validator refuses (contract §3.13 row 3): the banner, or a Final Checklist heading."""
    return BANNER in body or _FINAL_HEADING.search(body) is not None


def _is_shell(fence: Fence) -> bool:
    return language_of(fence.info) in _SHELLS


def _prints_banner(fence: Fence) -> bool:
    return BANNER in fence.code and _is_shell(fence)
