"""Room `runbook`: the lines of a migrated body: the old ones, less what moved, plus the new sections in their place."""

from collections.abc import Sequence
from dataclasses import dataclass

from runbook_runner.runbook.document import Runbook
from runbook_runner.runbook.migration.items import Kept
from runbook_runner.runbook.migration.numbering import Line, heading
from runbook_runner.runbook.migration.report_step import report_step
from runbook_runner.runbook.migration.script import NewCheck
from runbook_runner.runbook.migration.sections import Old, fence_lines
from runbook_runner.runbook.sections import is_step


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
