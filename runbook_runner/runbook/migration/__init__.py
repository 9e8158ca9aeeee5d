"""Room `runbook`: v1 → v2 (contract §3.16, last paragraph). What is not moved stays byte for byte."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runbook_runner.core.errors import InputError
from runbook_runner.runbook.criteria.verification_script import BANNER
from runbook_runner.runbook.document import Runbook, parse
from runbook_runner.runbook.migration.layout import (
    V1_SHAPE,
    Layout,
    is_counted_through,
    mentions,
    renumber,
    with_v2_keys,
)
from runbook_runner.runbook.migration.script import Moved, move_script
from runbook_runner.runbook.migration.sections import Kept, Old, find_old, keep, remains
from runbook_runner.runbook.parts.frontmatter import cut

Note = tuple[int, str]
"""A line, and why what stands there needs a look."""


@dataclass(frozen=True)
class Migration:
    text: str
    done: tuple[str, ...]
    """What was moved, for people."""
    left: tuple[Note, ...]
    """What was not; lines of the old file."""
    stale: tuple[Note, ...]
    """What does not fit any more; lines of the new file."""


def migrate(runbook: Runbook) -> Migration | None:
    """The file as v2; `None` when it is that already.

    Raises InputError when nothing can be put behind a code block that is never closed.
    """
    if runbook.generation == 2:
        return None
    if not runbook.text.endswith("\n"):  # new sections need a line of their own
        runbook = parse(runbook.text + _eol(runbook), runbook.source)
    lines, old = runbook.text.split("\n"), find_old(runbook)
    outputs = [output.path for output in runbook.outputs]
    moved = move_script(runbook.verification, outputs)
    kept = keep(old.items, lines, outputs, runbook.rubric)
    prose, dropped = remains(runbook, old, lines)
    body, renumbered = renumber(
        Layout(runbook, lines, old, moved.checks, kept, prose).body(), [step.number for step in runbook.steps]
    )
    head, keys = with_v2_keys(cut(runbook.text), runbook.frontmatter, _eol(runbook))
    text = head + "\n".join(body)
    _require_sections(runbook, text)
    left = [
        *moved.left,
        *((line, f"it spoke of the script: {text}") for line, text in dropped),
        *_elsewhere(runbook, old),
    ]
    stale = [*mentions(body, head.count("\n") + 1, renumbered), *_marks(text)]
    done = _done(runbook, old, moved, kept, keys)
    return Migration(text, tuple(done), tuple(sorted(left)), tuple(sorted(stale)))


def _require_sections(runbook: Runbook, text: str) -> None:
    if not parse(text, runbook.source).code_checks:
        line = runbook.outline.fences[-1].line if runbook.outline.fences else 1
        hint = "Close the code block (or the HTML comment) that the new sections would vanish in."
        raise InputError("The new sections would not be seen as such.", where=f"{runbook.source}:{line}", hint=hint)


def _eol(runbook: Runbook) -> str:
    return "\r\n" if "\r\n" in runbook.text else "\n"


def _done(runbook: Runbook, old: Old, moved: Moved, kept: Kept, keys: Sequence[str]) -> Iterator[str]:
    checks = [check.id for check in moved.checks]
    yield f"Code Checks: {', '.join(checks)}"
    yield from (f"line {line}: an item less, code checks or the report cover it: {text}" for line, text in kept.dropped)
    yield from (f"an item more: {text}" for text in kept.added)
    yield "the report step moved behind the checklist" if old.report else "a step that writes the report was added"
    if keys:
        yield f"the frontmatter gained {' and '.join(keys)}"
    if not is_counted_through([step.number for step in runbook.steps]):
        yield "the steps' numbers have gaps or repeats: they stay, and new steps come after the highest"


def _elsewhere(runbook: Runbook, old: Old) -> Iterator[Note]:
    """Blocks that still show the report of v1, and a script that stood outside the Final Checklist."""
    inside = [section for section in (old.final, old.report) if section]
    for fence in runbook.outline.fences:
        if any(section.line < fence.line <= section.end_line for section in inside):
            continue
        if runbook.verification and fence.line == runbook.verification.line:
            yield fence.line, "the script stood here; the words around it may still speak of it"
        elif V1_SHAPE in fence.code:
            yield fence.line, "this block shows the report of v1"


def _marks(text: str) -> Iterator[Note]:
    for number, line in enumerate(text.split("\n"), 1):
        if BANNER in line:
            yield number, f"it says {BANNER}, which marks a v1 file"
        elif "verification script" in line.lower() or "final checklist" in line.lower():
            yield number, "it speaks of what is no more: " + line.strip()
