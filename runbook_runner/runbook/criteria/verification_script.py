"""Room `runbook`: the verification script of a v1 Final Checklist (contract §3.16)."""

from runbook_runner.core.criteria import VerificationScript
from runbook_runner.runbook.markdown.blocks import Fence, Outline
from runbook_runner.runbook.parts.sections import BANNER, find
from runbook_runner.runbook.parts.steps import language_of

_SHELLS = frozenset({"", "bash", "sh", "shell"})


def read_verification(outline: Outline) -> VerificationScript | None:
    """The shell block under `Verification Script`, else the first one that prints the banner."""
    section = find(outline.sections, "verification script", prefix=True)
    own = outline.fences_in(section) if section else ()
    fence = next(filter(_is_shell, own), None) or next(filter(_prints_banner, outline.fences), None)
    return VerificationScript(fence.code, language_of(fence.info), fence.line) if fence else None


def _is_shell(fence: Fence) -> bool:
    return language_of(fence.info) in _SHELLS


def _prints_banner(fence: Fence) -> bool:
    return BANNER in fence.code and _is_shell(fence)
