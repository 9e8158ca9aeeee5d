"""Room `runbook`, `migration`: the sections of a v1 file that are taken apart, and the Checklist made of them."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import not_

from runbook_runner.core import ids
from runbook_runner.runbook.document import Runbook
from runbook_runner.runbook.markdown.blocks import Fence, Section
from runbook_runner.runbook.markdown.lists import Item, list_items, tasks
from runbook_runner.runbook.parts.outputs import in_results
from runbook_runner.runbook.parts.sections import BANNER, is_final_checklist, subsections

_REPORT = "validation_report"
_SCRIPT = re.compile(
    rf"verification script|verification block|{BANNER}|every line (?:says|reads|prints) PASS", re.IGNORECASE
)
_ALL_EXIST = re.compile(
    r"(?:all|every|each)\b.*\b(?:files?|outputs?)\b.*\b(?:exists?|present|non-?empty)\b[^,;]*", re.IGNORECASE
)
_EXISTS = re.compile(
    r"(?:the )?(?:file )?(?P<path>\S+)(?: file)? "
    r"(?:exists?|is present|is there|was (?:written|created|saved)|(?:is|are) non-?empty|has been (?:written|created))"
    r"(?: (?:at|in|under) \S+)?(?:,? and (?:is )?(?:non-?empty|not empty))?",
    re.IGNORECASE,
)
_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])\s")
_ENOUGH = 500  # characters; an item that only says a file exists is shorter
_LAST_RESORT = "The required outputs answer the Objective"


@dataclass(frozen=True)
class OldSections:
    """Line numbers are 1-based lines of the file."""

    final: Section | None
    """The Final Checklist."""
    items: Section | None
    """The section that holds its items: the Final Checklist itself or its `### Checklist`."""
    script: Section | None
    """The `### Verification Script` in it."""
    report: Section | None
    """The step that writes the validation report and nothing else."""
    runs_blocks: bool
    """The agent only runs code blocks: what it should do has to be one."""


@dataclass(frozen=True)
class Checklist:
    lines: tuple[str, ...]
    """Markdown without line ends."""
    dropped: tuple[tuple[int, str], ...]
    """Line and text of the items that code checks or the report itself cover now."""
    added: tuple[str, ...]


def old_sections(runbook: Runbook, *, runs_blocks: bool) -> OldSections:
    final = next((s for s in runbook.sections if s.level == 2 and is_final_checklist(s)), None)
    inner = subsections(runbook.sections, final, 3) if final else ()
    return OldSections(
        final=final,
        items=next((section for section in inner if section.name == "checklist"), final),
        script=next((section for section in inner if section.name.startswith("verification script")), None),
        report=next(filter(_writes_report, runbook.sections), None),
        runs_blocks=runs_blocks,
    )


def _writes_report(section: Section) -> bool:
    name = section.name
    return section.level == 2 and "validation report" in name and "summary" not in name and "checklist" not in name


def script_fence(runbook: Runbook) -> Fence | None:
    line = runbook.verification.line if runbook.verification else 0
    return next((fence for fence in runbook.outline.fences if fence.line == line), None)


def fence_lines(fence: Fence | None, lines: Sequence[str]) -> range:
    """The fence's lines, both marks included; empty when its end is not where it must be."""
    if fence is None:
        return range(0)
    last = fence.line + fence.code.count("\n") + 1
    if last <= len(lines) and lines[last - 1].strip()[:3] in ("```", "~~~"):
        return range(fence.line, last + 1)
    return range(0)


def checklist(runbook: Runbook, old: OldSections, lines: Sequence[str]) -> Checklist:
    """All of the Final Checklist except its headings and its script. Items that are covered go, the others stay as they
    are written; plain bullets get a box. lines: those of the file, the first at index 0."""
    outputs = [output.path for output in runbook.outputs]
    items = list(_located(old.items, lines)) if old.items else []
    is_kept = [not is_covered(item.text, outputs) for item, _ in items]
    kept, covered = list(compress(items, is_kept)), list(compress(items, map(not_, is_kept)))
    gone = set(_moved(runbook, old, lines)).union(*(span for _, span in covered))
    stays = {n: lines[n - 1].rstrip("\r") for n in _inner(old.final) if n not in gone}
    stays |= {item.line: _as_task(item, stays[item.line]) for item, _ in kept}
    slugs = [ids.slug(item.text) for item, _ in kept]
    added = [text for text in _wanted(runbook, bool(kept)) if ids.slug(text) not in slugs]
    last = kept[-1][1][-1] if kept else 0
    above = [text for number, text in stays.items() if number <= last]
    below = squeezed([text for number, text in stays.items() if number > last])
    boxes = [f"- [ ] {text}" for text in added]
    dropped = tuple((item.line, item.text) for item, _ in covered)
    return Checklist(tuple(squeezed([*above, *boxes, "", *below])), dropped, tuple(added))


def _inner(section: Section | None) -> range:
    return range(section.text_line, section.end_line + 1) if section else range(0)


def _moved(runbook: Runbook, old: OldSections, lines: Sequence[str]) -> Iterator[int]:
    """Lines of the Final Checklist that have another place: the heading of its items, and its script."""
    yield from range(old.items.line, old.items.text_line) if old.items else ()
    yield from range(old.script.line, old.script.text_line) if old.script else ()
    yield from fence_lines(script_fence(runbook), lines)


def _located(section: Section, lines: Sequence[str]) -> Iterator[tuple[Item, range]]:
    """The tasks (where an author used plain bullets, those) with their lines: an item's paragraph ends before the next
    blank line, item or line at its own margin."""
    for item in tasks(section.text, section.text_line) or list_items(section.text, section.text_line):
        margin = _indent(lines[item.line - 1])
        last = item.line
        while last < section.end_line:
            below = lines[last].rstrip("\r")
            if not below.strip() or _indent(below) <= margin or _ITEM.match(below):
                break
            last += 1
        yield item, range(item.line, last + 1)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def is_covered(text: str, outputs: Collection[str]) -> bool:
    """Whether the item only says that files exist, or is about the report or the script."""
    plain = text[:_ENOUGH].replace("`", "").replace("*", "").strip(" .")
    if _REPORT in plain or _SCRIPT.search(plain) or _ALL_EXIST.fullmatch(plain):
        return True
    match = _EXISTS.fullmatch(plain)
    return bool(match and in_results(match["path"]) in outputs)


def _as_task(item: Item, text: str) -> str:
    """The item's first line with a bullet, which the v2 validator wants, and a box."""
    if item.checked is not None:
        return re.sub(r"^(\s*)\d+[.)]\s+", r"\1- ", text)
    return re.sub(r"^(\s*)(?:[-*+]|\d+[.)])\s+", r"\1- [ ] ", text)


def _wanted(runbook: Runbook, has_items: bool) -> list[str]:
    if runbook.rubric:
        return [f"Overall rubric average is at least {runbook.rubric.average}"]
    return [] if has_items else [_LAST_RESORT]


def squeezed(lines: Iterable[str]) -> list[str]:
    """Without blank lines at the beginning, at the end, and behind another one."""
    kept: list[str] = []
    for line in lines:
        if line.strip() or (kept and kept[-1].strip()):
            kept.append(line)
    return kept[:-1] if kept and not kept[-1].strip() else kept
