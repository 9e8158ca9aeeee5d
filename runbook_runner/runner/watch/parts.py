"""Runner, watch: which part of a runbook a change touches, and the change itself in a few lines."""

from collections.abc import Iterable, Iterator
from typing import Final

from runbook_runner.core.errors import InputError
from runbook_runner.core.redaction import Redactor
from runbook_runner.core.text import counted
from runbook_runner.runbook.document import parse
from runbook_runner.runner.replay.edit import changed_lines
from runbook_runner.runner.watch.contents import Change

_LONGEST: Final = 200
_FRONTMATTER: Final = "frontmatter"


def parts_of(change: Change) -> tuple[str, ...]:
    """The sections of a runbook that the change touches, by their titles, as the file is now; of what was only taken
    away, as it was."""
    if change.before is None or change.after is None:
        return ()
    was = _sections(change.before)
    now = _sections(change.after) or was  # it can't be read now
    found: dict[str, None] = {}
    for i1, i2, j1, j2 in changed_lines(change.before.splitlines(), change.after.splitlines()):
        found |= dict.fromkeys(_touched(now, j1 + 1, j2) if j2 > j1 else _touched(was, i1 + 1, i2))
    return tuple(found)


def lines_of_change(change: Change, most: int) -> Iterator[str]:
    """What was taken away (`- …`) and what came (`+ …`), without what looks like a secret; `most` lines at most."""
    if change.before is None or change.after is None:
        return
    one, two = change.before.splitlines(), change.after.splitlines()
    lines: list[str] = []
    for i1, i2, j1, j2 in changed_lines(one, two):
        lines += [f"- {line}" for line in one[i1:i2]] + [f"+ {line}" for line in two[j1:j2]]
    clean = Redactor({}).clean
    yield from (clean(line)[:_LONGEST] for line in lines[:most])
    if len(lines) > most:
        yield f"… {counted(len(lines) - most, 'more line')}"


def _sections(text: str) -> list[tuple[str, int, int]]:
    """Titles with the first and the last line; none for what can't be read."""
    try:
        runbook = parse(text, "")
    except InputError:
        return []
    found = [(section.title, section.line, section.end_line) for section in runbook.sections if section.level == 2]
    front = [(_FRONTMATTER, 1, runbook.body_line - 1)] if runbook.body_line > 1 else []
    return front + found


def _touched(sections: Iterable[tuple[str, int, int]], first: int, last: int) -> Iterator[str]:
    yield from (title for title, line, end in sections if line <= last and first <= end)
