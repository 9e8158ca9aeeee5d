"""Runner, optimize: the edits that follow from patterns. They say what was counted, and no more than that: a note below
the heading of a step or of the Tips, a limit of time, and the version."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from runbook_runner.core.errors import InputError
from runbook_runner.runbook.document import Runbook, parse
from runbook_runner.runbook.parts.frontmatter import OWN_KEY
from runbook_runner.runbook.parts.steps import step_blocks
from runbook_runner.runbook.run_settings import own_settings
from runbook_runner.runner.optimize.patterns import Pattern
from runbook_runner.runner.optimize.quoted import quoted

TIPS: Final = "Tips"
FRONTMATTER: Final = "frontmatter"
_FIRST: Final = "1.0.1"  # contract §12.1: the version of a runbook that had none
_MOST_NAMED: Final = 8
_MOST_PARSED: Final = 20_000_000  # characters, while unsafe edits are looked for
_VERSION = re.compile(
    r"(?P<key>version:[ \t]*)(?P<quote>[\"']?)(?P<value>\d+(?:\.\d+){0,2})(?P=quote)(?P<rest>\s*(?:#.*)?)"
)


class Change(NamedTuple):
    section: str
    before: str
    """The lines that are replaced; empty: there were none."""
    after: str
    citations: tuple[str, ...]
    """`ID/run`: the step of each trajectory that it follows from."""
    line: int
    """1-based, of the first line of `before`; below the last line: something is added there."""


class Note(NamedTuple):
    lead: str
    """What it says without its numbers: one that is there already is not written again."""
    evidence: str
    pattern: Pattern

    @property
    def text(self) -> str:
        return f"- {self.lead} {self.evidence}"


def propose(runbook: Runbook, patterns: Sequence[Pattern]) -> tuple[str, tuple[Change, ...]]:
    """The new text of the runbook, and the changes that make it, in the order of the lines; the same text without any.
    An edit that would change what the runbook means to the engine is left out; in a very long runbook, also patterns
    that there is no time to try."""

    def is_safe(change: Change) -> bool:
        return _keeps(runbook, _with(runbook.text, [change]))

    timeout = _timeout(runbook, patterns)
    done = [*_notes(runbook, patterns), *([timeout] if timeout else [])]
    if not _keeps(runbook, _with(runbook.text, done)):  # which those are that are not safe, each is tried for
        tried = patterns[: max(1, _MOST_PARSED // len(runbook.text))]
        noted = _notes(runbook, [one for one in tried if all(map(is_safe, _notes(runbook, [one])))])
        done = [change for change in (*noted, timeout) if change and is_safe(change)]
    if done and (version := _version(runbook, tuple(dict.fromkeys(name for one in done for name in one.citations)))):
        done.append(version)
    done.sort(key=lambda change: change.line)
    return _with(runbook.text, done), tuple(done)


def _with(text: str, changes: Iterable[Change]) -> str:
    """From the end to the beginning, so that lines stay what they are."""
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    newline = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    for change in sorted(changes, key=lambda one: one.line, reverse=True):
        at, size = change.line - 1, change.before.count("\n") + 1 if change.before else 0
        if at >= len(lines) and lines and not lines[-1].endswith("\n"):
            lines[-1] += newline
        lines[at : at + size] = [f"{line}{newline}" for line in change.after.split("\n")]
    return "".join(lines)


def _keeps(before: Runbook, text: str) -> bool:
    """Whether the engine reads the same in both, but for a new section of Tips."""
    try:
        after = parse(text, before.source)
    except InputError:
        return False
    titles = _titles(before)
    return _titles(after) in (titles, [*titles, (2, TIPS)]) and _meaning(after) == _meaning(before)


def _titles(runbook: Runbook) -> list[tuple[int, str]]:
    return [(section.level, section.title) for section in runbook.sections]


def _meaning(runbook: Runbook) -> tuple[Any, ...]:
    """What an edit must leave as it is."""
    criteria = runbook.criteria
    rubric = criteria.rubric
    return (
        runbook.generation,
        runbook.title,
        runbook.outputs,
        [parameter.name for parameter in runbook.parameters],
        [(block.heading, block.language, block.code) for block in step_blocks(runbook.text)],
        [fence.code for fence in runbook.outline.fences],
        [(check.id, check.code, check.problem) for check in criteria.code_checks],
        [item.id for item in criteria.checklist],
        rubric and (rubric.average, rubric.minimum, [one.id for one in rubric.criteria]),
        [(bound.rounds, bound.text) for bound in runbook.iteration_bounds],
        criteria.verification and criteria.verification.code,
    )


def _notes(runbook: Runbook, patterns: Iterable[Pattern]) -> Iterator[Change]:
    places: dict[tuple[str, int | None], list[Note]] = {}
    for pattern in patterns:
        note = _note(pattern)
        if note and note.lead not in runbook.text:
            step = pattern.place.step
            places.setdefault((step.title, step.line) if step else (TIPS, None), []).append(note)
    tips = runbook.section(TIPS)
    for (title, line), notes in places.items():
        line = tips.line if line is None and tips else line
        yield _below(runbook, title, line, notes)


def _below(runbook: Runbook, title: str, line: int | None, notes: Sequence[Note]) -> Change:
    """line: of the heading; `None`: there is no Tips section."""
    lines = runbook.text.split("\n")
    citations = tuple(dict.fromkeys(name for note in notes for name in _citations(note.pattern)))
    texts = [note.text for note in notes]
    if line is None:
        end = len(lines) + (0 if lines[-1] == "" else 1)
        blank = [""] if runbook.text.rstrip("\r\n") == runbook.text or lines[-2:-1] != [""] else []
        return Change(title, "", "\n".join([*blank, f"## {TIPS}", "", *texts]), citations, end)
    heading = lines[line - 1].rstrip("\r")
    follows = lines[line].strip() if line < len(lines) else ""
    after = [heading, "", *texts, *([""] if follows else [])]
    return Change(title, heading, "\n".join(after), citations, line)


def _citations(pattern: Pattern) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"{one.trajectory_id}/run" for one in pattern.evidence))


def _note(pattern: Pattern) -> Note | None:
    """`None`: what is to be done about it, only the author knows."""
    number, of = len({one.trajectory_id for one in pattern.evidence}), pattern.facts.get("of")
    seen = f"({number} of {of} recorded runs"
    name = quoted(pattern.subject)
    last = pattern.evidence[-1].said
    match pattern.family, pattern.facts:
        case "consistent failure", {"kind": "error"}:
            return None  # the check has to be put right
        case "consistent failure", {"kind": "output"}:
            lead = f"Before you finish, make sure that {name} is in the results and is not empty:"
            return Note(lead, f"earlier runs ended with {last} {seen}).", pattern)
        case "consistent failure", {"kind": "judge"}:
            lead = f"Pay attention to the criterion {quoted(pattern.facts['title'] or pattern.subject)}:"
            return Note(lead, f"it was below what it must reach in earlier runs, at last with {last} {seen}).", pattern)
        case "consistent failure", _:
            lead = f"Before you finish, make sure that {name} holds:"
            return Note(lead, f"it failed in earlier runs, at last with {last} {seen}).", pattern)
        case "iteration waste", {"checked": [*checked]} if checked:
            lead = "Before the first report, check " + ", ".join(map(quoted, islice(checked, _MOST_NAMED))) + ":"
            return Note(lead, f"{pattern.summary}.", pattern)
        case "time-out or bottleneck", {"seconds": seconds}:
            return Note(f"Allow for the time of {name}:", f"it took {seconds:.0f} s in earlier runs.", pattern)
        case "time-out or bottleneck", {"limit": limit} if pattern.subject == "idle":
            lead = f"Let no command run for {limit:g} s without any output:"
            return Note(lead, f"the run is ended then {seen}).", pattern)
        case "missing guardrail", {"error": error, "exit_code": code}:
            how = f"exit code {code}" if code is not None else "an error"
            said = f"{how} and {quoted(error)}" if error else how
            return Note(
                f"Make sure that {name} has worked before you go on:",
                f"it failed in earlier runs with {said} {seen}).",
                pattern,
            )
        case "score plateau", {"asks": str(asks), "score": score} if asks:
            lead = f"For a {score:g} in the criterion {name}, what is asked is {quoted(asks)}:"
            return Note(lead, f"it was the lowest in {number} recorded runs.", pattern)
    return None


def _timeout(runbook: Runbook, patterns: Iterable[Pattern]) -> Change | None:
    """Twice the limit that ended the agent, where the runbook can say so."""
    pattern = next((one for one in patterns if one.subject == "deadline" and "limit" in one.facts), None)
    if pattern is None:
        return None
    seconds, now = 2 * float(pattern.facts["limit"]), own_settings(runbook).timeout
    if now is not None and now >= seconds:
        return None
    key, cited = f"  timeout: {seconds:g}", _citations(pattern)
    lines = runbook.text.split("\n")
    if (own := runbook.frontmatter.lines.get(OWN_KEY)) is None:
        closing = runbook.body_line - 1
        if closing < 1 or lines[closing - 1].rstrip("\r\t ") != "---":
            return None
        return Change(FRONTMATTER, "", f"{OWN_KEY}:\n{key}", cited, closing)
    if lines[own - 1].rstrip() != f"{OWN_KEY}:":
        return None
    if now is None:
        return Change(FRONTMATTER, "", key, cited, own + 1)
    for number, line in enumerate(lines[own : runbook.body_line - 1], own + 1):
        if match := re.fullmatch(r"(\s+timeout:\s*)[\d.]+\s*", line):
            return Change(FRONTMATTER, line.rstrip("\r"), f"{match[1]}{seconds:g}", cited, number)
    return None


def _version(runbook: Runbook, citations: tuple[str, ...]) -> Change | None:
    """The next patch version. `None` for a version that is no number: the author counts in another way."""
    line = runbook.frontmatter.lines.get("version")
    if line is None:
        return Change(FRONTMATTER, "", f'version: "{_FIRST}"', citations, 2)
    before = runbook.text.split("\n")[line - 1].rstrip("\r")
    match = _VERSION.fullmatch(before)
    if match is None:
        return None
    numbers = [*match["value"].split("."), "0", "0"][:3]
    value = f"{numbers[0]}.{numbers[1]}.{int(numbers[2][:9]) + 1}"
    after = f"{match['key']}{match['quote']}{value}{match['quote']}{match['rest']}"
    return Change(FRONTMATTER, before, after, citations, line)
