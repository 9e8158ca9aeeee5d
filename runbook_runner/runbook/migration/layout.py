"""Room `runbook`, `migration`: the body of a migrated file: the old lines, less what moved, and the new sections."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from runbook_runner.core import ids
from runbook_runner.core.criteria import ChecklistItem
from runbook_runner.core.errors import InputError
from runbook_runner.core.settings import DEFAULT_CHECK_TIMEOUT_S, RESULTS
from runbook_runner.runbook.criteria.report_example import block_report, report_example
from runbook_runner.runbook.document import Runbook
from runbook_runner.runbook.markdown.lists import tasks
from runbook_runner.runbook.migration.script import manifest_check, script_check
from runbook_runner.runbook.migration.sections import Checklist, OldSections, fence_lines, script_fence, squeezed
from runbook_runner.runbook.parts.frontmatter import Frontmatter, Parts, cut, read
from runbook_runner.runbook.parts.sections import is_step, without_step
from runbook_runner.runbook.parts.steps import Step, step_blocks

V1_SHAPE: Final = "overall_passed"
"""A key of the report of v1."""
_STEP = re.compile(r"(step\s+)(\d+)", re.IGNORECASE)
_REPORT_STEP: Final = "Write Validation Report"
_REPORTING: Final = (
    "Evaluate what you made, and report what you saw: one `step` entry per step, one `checklist` entry per item "
    "above{judges}. A `status` is `pass`, `fail`, `skipped` or `error`; `version` is the number 2. Code checks that "
    "the platform runs get no entry."
)
_WRITTEN: Final = (
    "All blocks above have succeeded when this one runs. Evaluate the run by its code checks: nobody judges the items "
    "of the checklist."
)


_NEW_KEYS: Final = {
    "strict_evaluation": "strict_evaluation: false\n",
    "code_checks": f"code_checks:\n  timeout_sec: {DEFAULT_CHECK_TIMEOUT_S}\n",
}


@dataclass(frozen=True)
class Line:
    text: str
    old_step: int | None = None
    """The number the step on this line had; 0 for a step that is new."""


def body_lines(runbook: Runbook, lines: Sequence[str], old: OldSections, new: Checklist) -> list[Line]:
    """The whole body. lines: those of the file, split at line feeds."""
    steps = {step.line: step.number for step in runbook.steps}
    moved = [section for section in (old.final, old.report) if section]
    gone = set(fence_lines(script_fence(runbook), lines))
    gone.update(*(range(section.line, section.end_line + 1) for section in moved))
    ends = [step.end_line for step in runbook.steps]
    place = old.final.line if old.final else max(ends, default=len(lines)) + 1
    kept = [(n, Line(lines[n - 1], steps.get(n))) for n in range(runbook.body_line, len(lines) + 1) if n not in gone]
    above = [line for number, line in kept if number < place]
    below = [line for number, line in kept if number >= place]
    end = "\r" if "\r\n" in runbook.text else ""
    between = [Line(line.text + end, line.old_step) for line in _new_sections(runbook, lines, old, new)]
    gap = [Line(end)] if lines[place - 2].strip() else []
    ends_file = not any(line.text.strip() for line in below)
    return [*above, *gap, *between, *([] if ends_file and below else [Line(end)]), *below]


def _new_sections(runbook: Runbook, lines: Sequence[str], old: OldSections, new: Checklist) -> list[Line]:
    step = 0 if (is_step(old.final) if old.final else runbook.steps) else None
    checks = ["", *manifest_check(output.path for output in runbook.outputs if not output.is_elsewhere)]
    if fence := fence_lines(script_fence(runbook), lines):
        section = old.script if old.script and fence[0] in range(old.script.line, old.script.end_line) else None
        above = range(section.text_line, fence[0]) if section else ()
        below = range(fence[-1] + 1, section.end_line + 1) if section else ()
        above_text, code, below_text = ([lines[n - 1].rstrip("\r") for n in part] for part in (above, fence, below))
        checks += ["", *script_check(above_text, code, below_text)]
    sections = [
        _heading("Code Checks", step),
        *map(Line, ["", *squeezed(checks), ""]),
        _heading("Checklist", step),
        *map(Line, ["", *new.lines, ""]),
        *_report_step(runbook, lines, old, new),
    ]
    if any(parameter.name == "results_dir" for parameter in runbook.parameters):
        return sections
    # The v2 validator wants a row for each variable.
    return [Line(line.text.replace("{{results_dir}}", RESULTS), line.old_step) for line in sections]


def _heading(name: str, step: int | None) -> Line:
    """step: its old number, 0 when it is new; `None`: the section is not a step."""
    return Line(f"## {name}") if step is None else Line(f"## Step {step}: {name}", step)


def _report_step(runbook: Runbook, lines: Sequence[str], old: OldSections, new: Checklist) -> list[Line]:
    """The moved step with the example in place of its own, or a new step."""
    example = _example(runbook, old, new)
    section = old.report
    if section is None:
        request = [] if old.runs_blocks else ["Write `{{results_dir}}/validation_report.json`:", ""]
        text = ["", *request, *example]
        return [_heading(_REPORT_STEP, 0 if runbook.steps else None), *map(Line, text)]
    title = without_step(section.title)
    name = title if title.lower().startswith(_REPORT_STEP.lower()) else _REPORT_STEP
    number = next((step.number for step in runbook.steps if step.line == section.line), None)
    fence = next((f for f in runbook.outline.fences_in(section) if V1_SHAPE in f.code), None)
    shape = fence_lines(fence, lines)
    first, last = (shape[0], shape[-1]) if shape else (section.end_line + 1, section.end_line)
    before = [lines[n - 1].rstrip("\r") for n in range(section.text_line, first)]
    after = [lines[n - 1].rstrip("\r") for n in range(last + 1, section.end_line + 1)]
    text = ["", *squeezed([*before, "", *example, "", *after])]
    return [_heading(name, number if is_step(section) else None), *map(Line, text)]


def _example(runbook: Runbook, old: OldSections, new: Checklist) -> list[str]:
    special = {section.line for section in (old.final, old.report) if section}
    kept = [step for step in runbook.steps if step.line not in special]
    steps = [_named(step) for step in kept]
    if old.runs_blocks:
        busy = {block.heading for block in step_blocks(runbook.text)}
        body = block_report(steps, (), [_named(step) for step in kept if step.title not in busy])
        code = ["cat > \"{{results_dir}}/validation_report.json\" <<'JSON'", *body.splitlines(), "JSON"]
        return [_WRITTEN, "", "```bash", *code, "```"]
    items = [ChecklistItem(ids.slug(item.text), item.text, 0, False) for item in tasks("\n".join(new.lines))]
    judges = ", one `judge` entry per criterion of the rubric" if runbook.rubric else ""
    example = report_example(steps, items, runbook.rubric)
    return ["```json", *example.rstrip("\n").split("\n"), "```", "", _REPORTING.format(judges=judges)]


def _named(step: Step) -> tuple[str, str]:
    name = step.name or step.title
    return ids.slug(name) or f"step-{step.number}", name


def is_counted_through(numbers: Sequence[int]) -> bool:
    """1, 2, 3: no gap and no repeat, so that they can be counted again."""
    return bool(numbers) and list(numbers) == list(range(numbers[0], numbers[0] + len(numbers)))


def renumbered(lines: Iterable[Line], numbers: Sequence[int]) -> tuple[list[str], dict[int, int]]:
    """The lines' texts with step headings counted again, and old → new of those that changed.

    Numbers with gaps or repeats stay; only new steps get numbers, above all others.
    """
    counts = is_counted_through(numbers)
    following = numbers[0] if counts else max(numbers, default=0) + 1
    texts, changed = [], {}
    for line in lines:
        text = line.text
        if line.old_step is not None and (counts or line.old_step == 0):
            text = _STEP.sub(rf"\g<1>{following}", text, count=1)
            if line.old_step not in (0, following):
                changed[line.old_step] = following
            following += 1
        texts.append(text)
    return texts, changed


def mentions(texts: Sequence[str], first_line: int, changed: Mapping[int, int]) -> list[tuple[int, str]]:
    """Lines (of the new file) whose words still use an old number; headings are not words."""
    return [
        (number, f"it says {match[0]}, which is Step {changed[int(match[2])]} now")
        for number, text in enumerate(texts, first_line)
        if not text.lstrip().startswith("#")
        for match in _STEP.finditer(text)
        if len(match[2]) < 6 and int(match[2]) in changed
    ]


def with_v2_keys(parts: Parts, front: Frontmatter, eol: str) -> tuple[str, list[str]]:
    """The head with the missing keys below the others, and their names; as it was when they can't be read there."""
    missing = [key for key in _NEW_KEYS if key not in front.lines]
    end = parts.head.rstrip("\r\n").rfind("\n") + 1
    new = "".join(_NEW_KEYS[key] for key in missing).replace("\n", eol)
    head = parts.head[:end] + new + parts.head[end:]
    try:
        given = read(cut(head + parts.body), "").raw
    except InputError:
        return parts.head, []
    is_read = given.keys() == {*front.raw, *missing} and front.raw.items() <= given.items()
    return (head, missing) if is_read else (parts.head, [])
