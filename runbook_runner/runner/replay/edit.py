"""Runner: how the mission was edited since a run was recorded, and which recorded answers that edit can't have changed:
those that belong to a step before the first one that was edited.

An agent is told the whole mission in its first message, so after an edit of one step no request is the same to the
letter. An edit that lies in steps, and not in the first one, leaves the answers as they are that the model gave while
it worked at the steps before. What an answer belongs to is a guess, and a wrong one would show the verdict of another
mission: an answer counts only when it names an earlier step, or what only an earlier step has, and nothing of the
edited one or a later one. The agent must be seen to work step by step as well: an answer belongs to the step just
before the edited one, and a later answer, with a tool call in it or after it, names the edited one.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile
from typing import Final, NamedTuple

from runbook_runner.core.errors import InputError
from runbook_runner.core.events import Difference
from runbook_runner.runbook.document import parse
from runbook_runner.runbook.parts.steps import Step

_MOST_LINES: Final = 2_000
"""Of what was edited: more of it is not aligned."""
_LONGEST: Final = 400
_WORD: Final = re.compile(r"[\w./-]{3,200}")
_TELLING: Final = re.compile(r"\w[/._-]\w|[A-Za-z]\d|\d[A-Za-z]|^/")
_CODE: Final = re.compile(r"`([^`\n]{3,200})`")
_VALUE: Final = re.compile(r"\d+(?:\.\d+)?|[^\W\d]\w{2,}")
_REDIRECTION: Final = re.compile(r"\d>(?:&\d)?")  # `2>&1` is in many commands, and no value
_NUMBERED: Final = re.compile(
    r"\bsteps?[\s#]*((?:\d{1,3}(?!\d)(?:[\s,&/#–-]|to|and|or|through|steps?)*)+)", re.IGNORECASE
)
_RANGE: Final = re.compile(r"\d\s*(?:[–-]|to|through)")
_MANY: Final = re.compile(
    r"\b(?:all|both|each|every|following|other|remaining|rest)\b[^.\n]{0,20}\bsteps?\b", re.IGNORECASE
)
_FURTHER: Final = re.compile(
    r"\b(?:after|all|also|complete\w*|done|everything|finish\w*|next|remaining|rest|then|whole)\b", re.IGNORECASE
)


class Said(NamedTuple):
    """An answer of the model, with paths as the mission has them."""

    text: str
    thinking: str = ""
    calls: str | None = None
    """What its tools are given; `None`: it calls none."""

    @property
    def whole(self) -> str:
        return "\n".join((self.text, self.thinking, self.calls or ""))


@dataclass(frozen=True)
class _Named:
    """By what some steps are recognised."""

    numbers: frozenset[int]
    names: re.Pattern[str]
    words: frozenset[str]
    """In lower case."""

    def is_named_in(self, text: str) -> bool:
        """By its number or its name."""
        return not self.numbers.isdisjoint(_numbers(text)) or bool(self.names.search(text))

    def is_worked_at_in(self, answer: Said) -> bool:
        """An answer without a tool call ends the work, and belongs to no step. A text that tells more than what begins
        now says nothing of which step that is."""
        if answer.calls is None:
            return False
        told = answer.calls if _FURTHER.search(answer.text) else f"{answer.text}\n{answer.calls}"
        return self.is_named_in(told) or not self.words.isdisjoint(_words(answer.calls))


@dataclass(frozen=True)
class Edit:
    """An edit of steps only, the first of all steps not among them."""

    step: Step
    """The first that was edited, as recorded; the first that is new, as it is now."""
    later: _Named
    """This step and those behind it, by what no earlier one has."""
    earlier: _Named
    """The steps before it, by what nothing else in the mission has."""
    previous: _Named
    """The one just before it, in the same way."""
    removed: frozenset[str]
    """Words and numbers that are not in the edited lines any more."""

    def answers_before(self, answers: Iterable[Said]) -> int:
        """How many of the first answers belong to the steps before the edited one; 0 when that can't be told."""
        before, rest = list[Said](), iter(answers)
        for answer in rest:
            if self.may_belong(answer):
                break
            before.append(answer)
        else:
            return 0
        if answer.calls is None and all(later.calls is None for later in rest):
            return 0  # the work at the edited step was done before it was named
        if not any(self.previous.is_worked_at_in(one) for one in before):
            return 0
        return sum(1 for _ in takewhile(self.earlier.is_worked_at_in, before))

    def may_belong(self, answer: Said) -> bool:
        """Whether it may belong to the edited step, or to a later one."""
        text = answer.whole
        if self.later.is_named_in(text) or _MANY.search(text) or not self.later.words.isdisjoint(_words(text)):
            return True
        return not self.removed.isdisjoint(_values(_REDIRECTION.sub(" ", answer.calls or "")))


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
    known = "\n".join(_text(one, step).partition("\n")[2] for step in earlier)  # without the numbers in headings
    old = "\n".join("\n".join(one[i1:i2]) for i1, i2, _, _ in changed)
    new = "\n".join("\n".join(two[j1:j2]) for _, _, j1, j2 in changed)
    return Edit(
        first,
        _named_later([*later, first], earlier, one),
        _named_alone(earlier, one, was.steps),
        _named_alone(earlier[-1:], one, was.steps),
        frozenset(_values(old) - _values(new) - _values(known)),
    )


def differences_of(before: str, after: str) -> tuple[Difference, ...]:
    """How two prompts differ, as a replay tells it; nothing when they are the same."""
    if before == after:
        return ()
    one, two = before.splitlines(), after.splitlines()
    changed = list(changed_lines(one, two)) or [(0, 0, 0, 0)]  # they differ in the ends of lines
    return tuple(_differences(one, two, changed))


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


def _named_later(steps: list[Step], earlier: list[Step], lines: list[str]) -> _Named:
    """As little as may be one of these steps names them."""
    text = "\n".join(_text(lines, step) for step in steps[:-1])  # the last one may be of the new mission
    known = _words("\n".join(_text(lines, step) for step in earlier))
    numbers = {step.number for step in steps} - {step.number for step in earlier}
    names = [re.escape(step.name) for step in steps if len(step.name) > 3]
    return _Named(frozenset(numbers), _any(names), frozenset(_telling(text) - known))


def _named_alone(steps: list[Step], lines: list[str], every: Iterable[Step]) -> _Named:
    """Only what nothing else in the mission has names them: a required output, for one, may be any step's."""
    own = {number for step in steps for number in range(step.line - 1, step.end_line)}
    text = "\n".join(line for number, line in enumerate(lines) if number in own)
    rest = "\n".join(line for number, line in enumerate(lines) if number not in own)
    numbers = {step.number for step in steps} - {step.number for step in every if step not in steps}
    names = [step.name for step in steps if len(step.name) > 5 and step.name.lower() not in rest.lower()]
    whole = [rf"(?<!\w){re.escape(name)}(?!\w)" for name in names]
    return _Named(frozenset(numbers), _any(whole), frozenset(_telling(text) - _words(rest)))


def _any(patterns: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(patterns) or r"\Z\A.", re.IGNORECASE)


def _text(lines: list[str], step: Step) -> str:
    return "\n".join(lines[step.line - 1 : step.end_line])


def _numbers(text: str) -> set[int]:
    """Of the steps that a text names: `step 2`, `Steps 1, 2 and 4`, `steps 1–3`."""
    numbers: set[int] = set()
    for found in set(_NUMBERED.findall(text)):
        named = [int(number) for number in re.findall(r"\d+", found)]
        numbers.update(range(min(named), max(named) + 1) if _RANGE.search(found) else named)
    return numbers


def _words(text: str) -> set[str]:
    """A path also as the name of its file."""
    words = {word.strip(".-").lower() for word in _WORD.findall(text)}
    files = {word.rpartition("/")[2] for word in words if "/" in word}
    return words | {file for file in files if _TELLING.search(file)}


def _telling(text: str) -> set[str]:
    """Files, paths, names with digits, and what is written as code."""
    code = {word for code in _CODE.findall(text) for word in _words(code)}
    return {word for word in _words(text) if _TELLING.search(word)} | code


def _values(text: str) -> set[str]:
    return {value.lower() for value in _VALUE.findall(text)}


def _differences(one: list[str], two: list[str], changed: Iterable[tuple[int, ...]]) -> Iterator[Difference]:
    for i1, i2, j1, j2 in changed:
        before, after = ("\n".join(lines)[:_LONGEST] for lines in (one[i1:i2], two[j1:j2]))
        yield Difference(path="prompt", line=i1 + 1, origin="user", before=before, after=after)
