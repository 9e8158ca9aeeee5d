"""Runner, optimize: where in the runbook something is that a run shows: its step and its line."""

import re
from typing import NamedTuple

from runbook_runner.runbook.document import Runbook
from runbook_runner.runbook.parts.outputs import output_lines
from runbook_runner.runbook.parts.sections import is_judging
from runbook_runner.runbook.parts.steps import Step

_SHORTEST = 3  # characters of what is looked for in the text of steps
_MOST_FOUND = 1000  # places in the text of a step that are looked at
_BEFORE = re.compile(r"[\w.-]")
_AFTER = re.compile(r"[\w-]")


class Place(NamedTuple):
    line: int | None = None
    """Of the runbook; `None`: nowhere."""
    step: Step | None = None
    """The only one that names it; `None`: none does, or several do."""


class Places:
    def __init__(self, runbook: Runbook):
        self._outputs = output_lines(runbook.outline)
        judging = {section.line for section in runbook.sections if is_judging(section)}
        self._steps = [step for step in runbook.steps if step.line not in judging]
        lines = runbook.text.split("\n")
        self._texts = ["\n".join(lines[step.line - 1 : step.end_line]) for step in self._steps]

    def of_output(self, path: str) -> Place:
        return Place(self._outputs.get(path), self._naming(path))

    def of_point(self, line: int | None, name: str) -> Place:
        return Place(line, self._naming(name))

    def of_call(self, heading: str, code: str) -> Place:
        """The step that an agent says it is in, or the one whose text has the first line of the command."""
        step = next((step for step in self._steps if heading and step.title == heading), None)
        step = step or self._naming(code.strip().split("\n")[0].strip())
        return Place(step.line if step else None, step)

    def _naming(self, text: str) -> Step | None:
        if len(text) < _SHORTEST:
            return None
        found = [step for step, said in zip(self._steps, self._texts, strict=True) if _has_word(said, text[:1000])]
        return found[0] if len(found) == 1 else None


def _has_word(text: str, word: str) -> bool:
    """Not as a part of a longer one. In linear time, as texts and words may be a stranger's: a regular expression takes
    minutes for some."""
    at = text.find(word)
    for _ in range(_MOST_FOUND):
        if at < 0:
            return False
        end = at + len(word)
        if not _BEFORE.match(text[max(0, at - 1) : at]) and not _AFTER.match(text[end : end + 1]):
            return True
        at = text.find(word, at + 1)
    return False
