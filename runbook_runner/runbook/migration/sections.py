"""Room `runbook`: which sections of a v1 file the migration takes apart, and what is in them."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from runbook_runner.core import ids
from runbook_runner.core.criteria import Rubric
from runbook_runner.runbook.criteria.verification_script import BANNER
from runbook_runner.runbook.document import Runbook
from runbook_runner.runbook.markdown.blocks import Fence, Section
from runbook_runner.runbook.markdown.lists import Item, list_items, tasks
from runbook_runner.runbook.parts.outputs import in_results
from runbook_runner.runbook.parts.sections import is_final_checklist, subsections

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
_ENOUGH = 500  # characters; an item that only says a file exists is shorter
_LAST_RESORT = "The required outputs answer the Objective"


@dataclass(frozen=True)
class Kept:
    lines: tuple[str, ...]
    """Markdown, one list item a line or more, without line ends."""
    dropped: tuple[tuple[int, str], ...]
    """Line and text of the items that code checks or the report itself cover now."""
    added: tuple[str, ...]


def keep(section: Section | None, lines: Sequence[str], outputs: Collection[str], rubric: Rubric | None) -> Kept:
    """section: what holds the items. lines: those of the file, the first at index 0. Items stay as they are written,
    plain bullets get a box."""
    dropped: list[tuple[int, str]] = []
    kept: list[str] = []
    slugs: set[str] = set()
    for item, last in located(section, lines) if section else ():
        if is_covered(item.text, outputs):
            dropped.append((item.line, item.text))
        else:
            kept += _as_task(item, lines[item.line - 1 : last])
            slugs.add(ids.slug(item.text))
    added = [text for text in _wanted(rubric, bool(kept)) if ids.slug(text) not in slugs]
    return Kept((*kept, *(f"- [ ] {text}" for text in added)), tuple(dropped), tuple(added))


def items_of(section: Section) -> tuple[Item, ...]:
    """The tasks; where an author used plain bullets, those."""
    return tasks(section.text, section.text_line) or list_items(section.text, section.text_line)


def located(section: Section, lines: Sequence[str]) -> Iterator[tuple[Item, int]]:
    """Each item with its last line."""
    return ((item, last_line(item, lines, section.end_line)) for item in items_of(section))


def last_line(item: Item, lines: Sequence[str], end: int) -> int:
    """Where the item's paragraph ends: before the next blank line, item or line at its own margin."""
    margin = len(lines[item.line - 1]) - len(lines[item.line - 1].lstrip())
    number = item.line
    while number < end:
        below = lines[number].rstrip("\r")
        indent = len(below) - len(below.lstrip())
        if not below.strip() or indent <= margin or re.match(r"\s*(?:[-*+]|\d+[.)])\s", below):
            break
        number += 1
    return number


def is_covered(text: str, outputs: Collection[str]) -> bool:
    """The item only says that files exist, speaks of the report, or of the script that is no more."""
    plain = text[:_ENOUGH].replace("`", "").replace("*", "").strip(" .")
    if _REPORT in plain or _SCRIPT.search(plain) or _ALL_EXIST.fullmatch(plain):
        return True
    match = _EXISTS.fullmatch(plain)
    return bool(match and in_results(match["path"]) in outputs)


def _as_task(item: Item, lines: Sequence[str]) -> list[str]:
    """The v2 validator counts no numbered ones."""
    mark = r"\1- [ ] " if item.checked is None else r"\1- "
    bullet = r"(?:[-*+]|\d+[.)])" if item.checked is None else r"\d+[.)]"
    first = re.sub(rf"^(\s*){bullet}\s+", mark, lines[0].rstrip("\r"))
    return [first, *(line.rstrip("\r") for line in lines[1:])]


def _wanted(rubric: Rubric | None, has_items: bool) -> list[str]:
    if rubric:
        return [f"Overall rubric average is at least {rubric.average}"]
    return [] if has_items else [_LAST_RESORT]


REPORT_STEP = "write validation report"
_CHECKLIST, _SCRIPT_SECTION = "checklist", "verification script"


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
    yield from (s.line for s in subsections(runbook.sections, final, 3) if s.name.startswith(_SCRIPT_SECTION))
    for item, last in located(items, lines):
        yield from range(item.line, last + 1)
    fences = runbook.outline.fences_in(final)
    for fence in fences if script else ():
        if script and fence.line == script.line:
            yield from fence_lines(fence, lines) or ()


def _in_script_section(runbook: Runbook, old: Old, line: int) -> bool:
    below = runbook.outline.innermost(line)
    return below is not None and below is not old.items and below.name.startswith(_SCRIPT_SECTION)
