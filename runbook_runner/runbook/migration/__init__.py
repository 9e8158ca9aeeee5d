"""Room `runbook`, `migration`: v1 → v2 (contract §3.16, last paragraph). What is not moved stays byte for byte."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from runbook_runner.core.errors import InputError
from runbook_runner.runbook.document import Runbook, parse
from runbook_runner.runbook.migration.layout import (
    V1_SHAPE,
    body_lines,
    is_counted_through,
    mentions,
    renumbered,
    with_v2_keys,
)
from runbook_runner.runbook.migration.script import doubtful
from runbook_runner.runbook.migration.sections import (
    Checklist,
    OldSections,
    checklist,
    fence_lines,
    old_sections,
    script_fence,
)
from runbook_runner.runbook.parts.frontmatter import cut
from runbook_runner.runbook.parts.sections import BANNER, find_exact, has_v1_marks

_UNMARKED: Final = "OUTPUT VERIFICATION"
"""The banner without what marks a v1 file."""

Note = tuple[int, str]
"""A line, and why its text needs a look."""


@dataclass(frozen=True)
class Migration:
    text: str
    done: tuple[str, ...]
    """What was moved, for people."""
    left: tuple[Note, ...]
    """What the author should look at; lines of the old file."""
    stale: tuple[Note, ...]
    """What does not fit any more; lines of the new file."""


def migrate(runbook: Runbook, *, runs_blocks: bool = False) -> Migration | None:
    """The file as v2; `None` when it is v2 already. runs_blocks: its agent only runs code blocks.

    Raises InputError when a code block that is never closed would swallow the new sections.
    """
    if runbook.generation == 2 and BANNER not in runbook.text:
        return None
    if find_exact(runbook.sections, "code checks"):
        return _unmarked(runbook)
    eol = "\r\n" if "\r\n" in runbook.text else "\n"
    if not runbook.text.endswith("\n"):  # new sections need a line of their own
        runbook = parse(runbook.text + eol, runbook.source)
    lines, old = runbook.text.split("\n"), old_sections(runbook, runs_blocks=runs_blocks)
    new = checklist(runbook, old, lines)
    numbers = [step.number for step in runbook.steps]
    body, changed = renumbered(body_lines(runbook, lines, old, new), numbers)
    head, keys = with_v2_keys(cut(runbook.text), runbook.frontmatter, eol)
    text = (head + "\n".join(body)).replace(BANNER, _UNMARKED)
    _require_sections(runbook, text)
    return Migration(
        text=text,
        done=tuple(_done(runbook, old, new, keys, numbers)),
        left=tuple(sorted(_left(runbook, old, lines))),
        stale=tuple(sorted([*mentions(body, head.count("\n") + 1, changed), *_marks(text)])),
    )


def _unmarked(runbook: Runbook) -> Migration:
    """A file with Code Checks that something else marks as v1: these sections are not added a second time."""
    lines = runbook.text.replace(BANNER, _UNMARKED).split("\n")
    left = [
        (n, "a v1 mark beside Code Checks: move what is below it")
        for n, line in enumerate(lines, 1)
        if has_v1_marks(line)
    ]
    if script := script_fence(runbook):
        left.append((script.line, "the script of v1 beside Code Checks: make what it tests code checks"))
    return Migration("\n".join(lines), tuple(_banners(runbook)), tuple(sorted(left)), stale=())


def _banners(runbook: Runbook) -> Iterator[str]:
    for number, line in enumerate(runbook.text.split("\n"), 1):
        if BANNER in line:
            yield f"line {number}: {BANNER}, which marks a v1 file, became {_UNMARKED}"


def _require_sections(runbook: Runbook, text: str) -> None:
    if not parse(text, runbook.source).code_checks:
        line = runbook.outline.fences[-1].line if runbook.outline.fences else 1
        hint = "Close the code block (or the HTML comment) that swallows the new sections."
        raise InputError("The new sections would not be read as such.", where=f"{runbook.source}:{line}", hint=hint)


def _done(
    runbook: Runbook, old: OldSections, new: Checklist, keys: Sequence[str], numbers: Sequence[int]
) -> Iterator[str]:
    script = " and one that runs the script as it was" if runbook.verification else ""
    yield f"Code Checks: one that the required outputs exist{script}"
    yield from (f"line {line}: an item less, code checks or the report cover it: {text}" for line, text in new.dropped)
    yield from (f"an item more: {text}" for text in new.added)
    yield "the report step moved behind the checklist" if old.report else "a step that writes the report was added"
    yield from _banners(runbook)
    if keys:
        yield f"the frontmatter gained {' and '.join(keys)}"
    if not is_counted_through(numbers):
        yield "the steps' numbers have gaps or repeats: they stay, and new steps come after the highest"


def _left(runbook: Runbook, old: OldSections, lines: Sequence[str]) -> Iterator[Note]:
    """What the script tests of the report; a script that stood outside the Final Checklist; blocks that still show the
    report of v1."""
    moved = [section for section in (old.final, old.report) if section]
    script = script_fence(runbook)
    if script:
        yield from doubtful([lines[n - 1] for n in fence_lines(script, lines)], script.line)
    for fence in runbook.outline.fences:
        if any(section.line < fence.line <= section.end_line for section in moved):
            continue
        if script and fence.line == script.line:
            yield fence.line, "the script was moved from here; the text around it may still mention it"
        elif V1_SHAPE in fence.code:
            yield fence.line, "this block shows the report of v1"


def _marks(text: str) -> Iterator[Note]:
    for number, line in enumerate(text.split("\n"), 1):
        if "verification script" in line.lower() or "final checklist" in line.lower():
            yield number, "it mentions a section that v2 does not have: " + line.strip()
