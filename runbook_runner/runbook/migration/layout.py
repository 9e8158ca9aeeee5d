"""Room `runbook`: the lines of a migrated body: the old ones, less what moved, plus the new sections in their place."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runbook_runner.core import ids
from runbook_runner.core.criteria import ChecklistItem
from runbook_runner.core.errors import InputError
from runbook_runner.core.settings import DEFAULT_CHECK_TIMEOUT_S
from runbook_runner.runbook.authoring.fmt_frontmatter import ORDER, key_lines, with_comments
from runbook_runner.runbook.criteria.report_example import report_example
from runbook_runner.runbook.document import Runbook
from runbook_runner.runbook.markdown.lists import tasks
from runbook_runner.runbook.markdown.yaml import YamlText
from runbook_runner.runbook.migration.script import NewCheck
from runbook_runner.runbook.migration.sections import REPORT_STEP, Kept, Old, fence_lines
from runbook_runner.runbook.parts.frontmatter import Frontmatter, Parts, cut, read
from runbook_runner.runbook.parts.sections import is_step, without_step
from runbook_runner.runbook.parts.steps import Step

_STEP = re.compile(r"(step\s+)(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Line:
    text: str
    old_step: int | None = None
    """The number the step on this line had; 0 for a step that is new."""


def heading(name: str, step: int | None) -> Line:
    """step: its old number, 0 when it is new; `None`: no step."""
    return Line(f"## {name}") if step is None else Line(f"## Step {step}: {name}", step)


def is_counted_through(numbers: Sequence[int]) -> bool:
    """1, 2, 3: no gap and no repeat, so that they can be counted again."""
    return bool(numbers) and list(numbers) == list(range(numbers[0], numbers[0] + len(numbers)))


def renumber(lines: Sequence[Line], numbers: Sequence[int]) -> tuple[list[str], dict[int, int]]:
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


@dataclass(frozen=True)
class Layout:
    runbook: Runbook
    lines: Sequence[str]
    """Of the whole file, split at line feeds."""
    old: Old
    checks: Sequence[NewCheck]
    kept: Kept
    prose: Sequence[str]
    """Of the Final Checklist, to stay below the items."""

    def body(self) -> list[Line]:
        steps = {step.line: step.number for step in self.runbook.steps}
        gone, place = self._gone(), self._place()
        body: list[Line] = []
        for number in range(self.runbook.body_line, len(self.lines) + 1):
            if number == place:
                body += self._new()
            if number not in gone:
                body.append(Line(self.lines[number - 1], steps.get(number)))
        return body if place <= len(self.lines) else [*body, *self._new()]

    def _gone(self) -> set[int]:
        sections = [section for section in (self.old.final, self.old.report) if section]
        gone = {number for s in sections for number in range(s.line, s.end_line + 1)}
        script = self.runbook.verification
        fences = [f for f in self.runbook.outline.fences if script and f.line == script.line]
        return gone.union(*(fence_lines(fence, self.lines) or () for fence in fences))

    def _place(self) -> int:
        """The line the new sections stand before: where the Final Checklist was, else behind the last step."""
        if self.old.final:
            return self.old.final.line
        ends = [step.end_line for step in self.runbook.steps]
        return (max(ends) if ends else len(self.lines)) + 1

    def _new(self) -> list[Line]:
        numbered = is_step(self.old.final) if self.old.final else bool(self.runbook.steps)
        step = 0 if numbered else None
        checks = [line for check in self.checks for line in ("", *check.markdown().rstrip("\n").split("\n"))]
        below = [*self.kept.lines, *(["", *self.prose] if self.prose else [])]
        parts = [
            [heading("Code Checks", step), *map(Line, checks)],
            [heading("Checklist", step), *map(Line, ["", *below])],
            report_step(self.runbook, self.old, self.lines, self.kept.lines),
        ]
        new = [line for part in parts for line in (*part, Line(""))]
        end = "\r" if "\r\n" in self.runbook.text else ""
        return [Line(line.text.removesuffix("\r") + end, line.old_step) for line in self._fitted(new)]

    def _fitted(self, new: list[Line]) -> list[Line]:
        """One blank line before the new sections and, unless the file ends here, behind them."""
        above = self.lines[self._place() - 2]
        end = self.old.final.end_line if self.old.final else self._place() - 1
        ends_file = not any(line.strip() for line in self.lines[end:])
        trimmed = new[:-1] if ends_file and end < len(self.lines) else new
        return [Line(""), *trimmed] if above.strip() else trimmed


_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_NEW = {
    "strict_evaluation": ("strict_evaluation: false",),
    "code_checks": ("code_checks:", f"  timeout_sec: {DEFAULT_CHECK_TIMEOUT_S}"),
}


def with_v2_keys(parts: Parts, front: Frontmatter, eol: str) -> tuple[str, tuple[str, ...]]:
    """The head with the missing keys in their place, and their names. A block that is no list of
    keys, line by line, gets none."""
    missing = [key for key in _NEW if key not in front.lines]
    starts = key_lines(parts.yaml or "")
    if not missing or len(starts) != len(front.raw) or (not starts and YamlText(parts.yaml or "", "", 2).root()):
        return parts.head, ()
    lines = _LINE.findall(parts.head)
    place = _place(lines, starts)
    new = [line + eol for key in missing for line in _NEW[key]]
    head = "".join([*lines[:place], *new, *lines[place:]])
    return (head, tuple(missing)) if _is_read(head + parts.body) else (parts.head, ())


def _is_read(text: str) -> bool:
    """Below YAML's own end mark (`...`) nothing may be added."""
    try:
        return "code_checks" in read(cut(text), "").lines
    except InputError:
        return False


def _place(lines: Sequence[str], starts: Sequence[tuple[str, int]]) -> int:
    """Before the first key that comes later in the contract's order, as far as the author kept to it."""
    later = ORDER[ORDER.index("code_checks") + 1 :]
    after = [line for name, line in starts if name in later or name not in ORDER]
    known = [line for name, line in starts if name in ORDER and name not in later]
    first = next((line for line in after if all(line > other for other in known)), None)
    return len(lines) - 1 if first is None else with_comments(list(lines[1:]), first) + 1
