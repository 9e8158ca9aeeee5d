"""Room `runbook`: which sections of a v1 file the migration takes apart, and what is in them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runbook_runner.runbook.document import Runbook
from runbook_runner.runbook.markdown import Fence, Section
from runbook_runner.runbook.migration.items import located
from runbook_runner.runbook.sections import is_final_checklist, subsections
from runbook_runner.runbook.verification import BANNER

REPORT_STEP = "write validation report"
_CHECKLIST, _SCRIPT = "checklist", "verification script"


@dataclass(frozen=True)
class Old:
    """Line numbers are 1-based lines of the file."""

    final: Section | None
    """The Final Checklist."""
    items: Section | None
    """What holds its items: the section itself or its `### Checklist`."""
    report: Section | None
    """The step that writes the validation report and nothing else."""


def find_old(runbook: Runbook) -> Old:
    final = next((s for s in runbook.sections if s.level == 2 and is_final_checklist(s)), None)
    inner = subsections(runbook.sections, final, 3) if final else ()
    items = next((section for section in inner if section.name == _CHECKLIST), final)
    return Old(final, items, next(filter(_writes_report, runbook.sections), None))


def _writes_report(section: Section) -> bool:
    name = section.name
    return section.level == 2 and "validation report" in name and "summary" not in name and "checklist" not in name


def fence_lines(fence: Fence, lines: Sequence[str]) -> range | None:
    """The fence's lines, both marks included; `None` when its end is not where it must be."""
    last = fence.line + fence.code.count("\n") + 1
    if last <= len(lines) and lines[last - 1].strip()[:3] in ("```", "~~~"):
        return range(fence.line, last + 1)
    return None


def remains(runbook: Runbook, old: Old, lines: Sequence[str]) -> tuple[list[str], list[tuple[int, str]]]:
    """What the Final Checklist holds beside its headings, its script and its items: the prose that stays, and what
    speaks of the script and goes, with its line."""
    gone = set(_taken(runbook, old, lines))
    stays: list[str] = []
    dropped: list[tuple[int, str]] = []
    for number in range(old.final.line, old.final.end_line + 1) if old.final else ():
        text = lines[number - 1].rstrip("\r")
        if number in gone or (not text.strip() and not (stays and stays[-1])):
            continue
        if text.strip() and (BANNER in text or _in_script_section(runbook, old, number)):
            dropped.append((number, text.strip()))
        else:
            stays.append(text)
    while stays and not stays[-1]:
        stays.pop()
    return stays, dropped


def _taken(runbook: Runbook, old: Old, lines: Sequence[str]) -> Iterator[int]:
    final, items, script = old.final, old.items, runbook.verification
    if final is None or items is None:
        return
    yield from (final.line, items.line)
    yield from (s.line for s in subsections(runbook.sections, final, 3) if s.name.startswith(_SCRIPT))
    for item, last in located(items, lines):
        yield from range(item.line, last + 1)
    fences = runbook.outline.fences_in(final)
    for fence in fences if script else ():
        if script and fence.line == script.line:
            yield from fence_lines(fence, lines) or ()


def _in_script_section(runbook: Runbook, old: Old, line: int) -> bool:
    below = runbook.outline.innermost(line)
    return below is not None and below is not old.items and below.name.startswith(_SCRIPT)
