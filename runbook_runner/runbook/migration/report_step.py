"""Room `runbook`: the step that writes the validation report, behind the checklist and with the report of v2."""

from collections.abc import Sequence

from runbook_runner.core import ids
from runbook_runner.runbook.checklist import ChecklistItem
from runbook_runner.runbook.document import Runbook
from runbook_runner.runbook.lists import tasks
from runbook_runner.runbook.migration.numbering import Line, heading
from runbook_runner.runbook.migration.sections import REPORT_STEP, Old, fence_lines
from runbook_runner.runbook.report_example import report_example
from runbook_runner.runbook.sections import is_step, without_step
from runbook_runner.runbook.steps import Step

V1_SHAPE = "overall_passed"
_NAME = "Write Validation Report"
_REPORTING = (
    "Report what you saw: one `step` entry per step, one `checklist` entry per item above{judges}. A `status` is "
    "`pass`, `fail`, `skipped` or `error`; `version` is the number 2. Code checks that the platform runs get no entry."
)


def report_step(runbook: Runbook, old: Old, lines: Sequence[str], items: Sequence[str]) -> list[Line]:
    """The moved step with the example in place of its own, or a new step.

    items: the Markdown lines of the new checklist.
    """
    example = _example(runbook, old, items)
    section = old.report
    if section is None:
        own = ["", "Write `{{results_dir}}/validation_report.json`:", "", *example]
        return [heading(_NAME, 0 if runbook.steps else None), *map(Line, own)]
    title = without_step(section.title)
    name = title if title.lower().startswith(REPORT_STEP) else _NAME
    number = next((step.number for step in runbook.steps if step.line == section.line), None)
    fence = next((f for f in runbook.outline.fences_in(section) if V1_SHAPE in f.code), None)
    where = fence_lines(fence, lines) if fence else None
    below = list(range(section.text_line, section.end_line + 1))
    before = [lines[n - 1] for n in below if not where or n < where[0]]
    after = [lines[n - 1] for n in below if where and n > where[-1]]
    return [heading(name, number if is_step(section) else None), *map(Line, _joined(before, example, after))]


def _joined(before: Sequence[str], example: Sequence[str], after: Sequence[str]) -> list[str]:
    """With one blank line around the example."""
    first, last = list(before), list(after)
    while first and not first[-1].strip():
        first.pop()
    while last and not last[-1].strip():
        last.pop()
    while last and not last[0].strip():
        last.pop(0)
    return [*first, "", *example, *(["", *last] if last else [])]


def _example(runbook: Runbook, old: Old, items: Sequence[str]) -> list[str]:
    checklist = [ChecklistItem(ids.slug(item.text), item.text, 0, False) for item in tasks("\n".join(items))]
    special = {section.line for section in (old.final, old.report) if section}
    steps = [_named(step) for step in runbook.steps if step.line not in special]
    example = report_example(steps, checklist, runbook.rubric)
    judges = ", one `judge` entry per criterion of the rubric" if runbook.rubric else ""
    return ["```json", *example.rstrip("\n").split("\n"), "```", "", _REPORTING.format(judges=judges)]


def _named(step: Step) -> tuple[str, str]:
    name = step.name or step.title
    return ids.slug(name) or f"step-{step.number}", name
