"""Runner: how the mission was edited since a run was recorded, and which recorded answers that edit can't have changed:
those from before the agent came to the first step that was edited.

An agent is told the whole mission in its first message, so after an edit of one step no request is the same to the
letter. An edit that lies in steps, and not in the first one, leaves the answers as they are that the model gave before
it came to that step. It had come there when an answer names the step, a later one, or a file, path or command that no
earlier step has; when no answer does, that can't be told.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

from runbook_runner.core.errors import InputError
from runbook_runner.core.events import Difference
from runbook_runner.runbook.document import parse
from runbook_runner.runbook.parts.steps import Step

_MOST_LINES: Final = 2_000
"""Of what was edited: more of it is not aligned."""
_LONGEST: Final = 400
_WORD: Final = re.compile(r"[\w./-]{4,200}")
_TELLING: Final = re.compile(r"\w[/._-]\w|[A-Za-z]\d|\d[A-Za-z]|^/")
_CODE: Final = re.compile(r"`([^`\n]{4,200})`")


@dataclass(frozen=True)
class Edit:
    """An edit of steps only, the first of all steps not among them."""

    before: str
    """The whole mission, as recorded."""
    after: str
    step: Step
    """The first that was edited, as recorded; the first that is new, as it is now."""
    names: re.Pattern[str]
    """What names this step or a later one."""
    words: frozenset[str]
    """Words that only these steps have, in lower case."""
    differences: tuple[Difference, ...]

    def is_named_in(self, text: str) -> bool:
        """Whether an answer of the model with this text may belong to an edited step."""
        return bool(self.names.search(text)) or not self.words.isdisjoint(_words(text))


def edit_of(before: str, after: str) -> Edit | None:
    """`None` when the missions are the same, when more than steps was edited, or the first step, or when one of them
    can't be read."""
    if before == after:
        return None
    try:
        was, now = parse(before, "recorded"), parse(after, "now")
    except InputError:
        return None
    one, two = before.splitlines(), after.splitlines()
    changed = list(changed_lines(one, two))
    if not changed or not was.steps:
        return None
    lines = [*_within(was.steps, [span[:2] for span in changed]), *_within(now.steps, [span[2:] for span in changed])]
    if any(step is None for step in lines):
        return None
    first = min((step for step in lines if step), key=lambda step: step.line)
    earlier = [step for step in was.steps if step.line < first.line]
    later = [step for step in was.steps if step.line >= first.line]
    if not earlier:
        return None
    known = _words("\n".join("\n".join(one[step.line - 1 : step.end_line]) for step in earlier))
    text = "\n".join("\n".join(one[step.line - 1 : step.end_line]) for step in later)
    words = {word for word in _words(text) if _TELLING.search(word)} | {*_in_code(text)}
    numbers = sorted({step.number for step in (*later, first)} - {step.number for step in earlier})
    names = [rf"\bstep[\s#]*(?:{'|'.join(map(str, numbers))})\b"] if numbers else []
    names += [re.escape(step.name) for step in (*later, first) if len(step.name) > 3]
    pattern = re.compile("|".join(names) or r"\Z\A.", re.IGNORECASE)
    return Edit(before, after, first, pattern, frozenset(words - known), tuple(_differences(one, two, changed)))


def changed_lines(one: list[str], two: list[str]) -> Iterator[tuple[int, int, int, int]]:
    """What differs, as `one[i1:i2]` and `two[j1:j2]`; of very much, the first to the last line as one."""
    shorter = min(len(one), len(two))
    start = next((n for n in range(shorter) if one[n] != two[n]), shorter)
    tail = next((n for n in range(shorter - start) if one[-1 - n] != two[-1 - n]), shorter - start)
    a, b = one[start : len(one) - tail], two[start : len(two) - tail]
    if len(a) + len(b) > _MOST_LINES:
        yield start, start + len(a), start, start + len(b)
        return
    for kind, i1, i2, j1, j2 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if kind != "equal":
            yield start + i1, start + i2, start + j1, start + j2


def _within(steps: Iterable[Step], spans: Iterable[tuple[int, int]]) -> Iterator[Step | None]:
    """The step of each span of lines, which are 0-based; `None` for one that is not within steps."""
    known = list(steps)
    for start, end in spans:
        for line in range(start + 1, end + 1):
            yield next((step for step in known if step.line <= line <= step.end_line), None)


def _words(text: str) -> set[str]:
    return {word.strip(".-").lower() for word in _WORD.findall(text)}


def _in_code(text: str) -> Iterator[str]:
    for code in _CODE.findall(text):
        yield from _words(code)


def _differences(one: list[str], two: list[str], changed: Iterable[tuple[int, ...]]) -> Iterator[Difference]:
    for i1, i2, j1, j2 in changed:
        before, after = ("\n".join(lines)[:_LONGEST] for lines in (one[i1:i2], two[j1:j2]))
        yield Difference(path="mission", line=i1 + 1, origin="user", before=before, after=after)
