"""Room `runbook`: the numbers of a migrated file's steps, and who still speaks of the old ones."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
