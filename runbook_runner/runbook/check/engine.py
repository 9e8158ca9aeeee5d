"""Room `runbook`, `check`: texts in, findings out."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from runbook_runner.core.errors import InputError
from runbook_runner.core.files import text_of
from runbook_runner.runbook.check.bash_syntax import Block, NoBashError, Unchecked, broken_blocks
from runbook_runner.runbook.check.noqa import exemptions
from runbook_runner.runbook.check.rules import Selection, rules_for
from runbook_runner.runbook.check.rules.findings import Finding
from runbook_runner.runbook.check.rules.known_names import NOWHERE, Surroundings
from runbook_runner.runbook.check.rules.subject import SHELLS, Rule, ShellError, Subject
from runbook_runner.runbook.document import Runbook

MOST = 100
"""Findings of one rule in one file; more of them are one problem of the author, not a hundred."""
_TEXT_ONLY = frozenset({"RB101", "RB102", "RB103", "RB601", "RB602"})
"""Rules that do not need a document that could be read; so do the published validators, which only grep."""
_OF_BASH = frozenset({"RB401", "RB406"})
_UNCLOSED = "RB403"
_OF_PIECES = ("RB2", "RB3", "RB4", "RB5")
"""How the rules begin that ask for sections and blocks: behind a block that is never closed there are none."""
_SLIPS = ("RB104", "RB203", "RB301")
_MOST_SLIPS = 5
_PUBLISHED = "RB8"
"""Where they begin."""


class Job(NamedTuple):
    subject: Subject
    rules: Sequence[Rule]
    selection: Selection


def job(raw: bytes, name: str, folder: Path | None, selection: Selection, surroundings: Surroundings = NOWHERE) -> Job:
    """Raises InputError for bytes that are not text."""
    text_of(raw, name)
    subject = Subject(name, raw.decode(), folder, surroundings)
    return Job(subject, rules_for(subject, selection), selection)


def findings_of(jobs: Sequence[Job]) -> list[tuple[Finding, ...]]:
    """Per job. All shell blocks are looked at together, because a process for each would take most of the time."""
    _parse_shells([job for job in jobs if any(rule.id in _OF_BASH for rule in job.rules)])
    return [tuple(_findings(job)) for job in jobs]


def slips(runbook: Runbook) -> Iterator[str]:
    """Yields the findings that a run should not hide, the first of them: its runbook does not say what was meant, and
    a run goes on with that."""
    subject, selection = Subject.of(runbook), Selection(select=_SLIPS)
    (found,) = findings_of([Job(subject, rules_for(subject, selection), selection)])
    yield from (f"{one.file}:{one.line}: {one.message} {one.hint}".strip() for one in found[:_MOST_SLIPS])
    if len(found) > _MOST_SLIPS:
        yield f"{runbook.source}: {len(found) - _MOST_SLIPS} more of this kind: see `runbook check`."


def refusal(error: InputError, name: str) -> Finding:
    """The finding for a file that is not text."""
    line = (error.where or "").rpartition(":")[2]
    return Finding(name, int(line) if line.isdigit() else 1, 1, "RB101", "error", error.message, error.hint or "")


def _findings(job: Job) -> Iterator[Finding]:
    exempt = exemptions(job.subject)
    is_runbook = job.subject.problem is None
    found = []
    for rule in job.rules:
        if not is_runbook and rule.id not in _TEXT_ONLY and rule.id < _PUBLISHED:
            continue
        for hit in islice(rule.check(job.subject), MOST):
            if not exempt.covers(rule.id, hit.line):
                edits = hit.edits if rule.fixable else ()
                found.append(
                    Finding(
                        job.subject.name, hit.line, hit.column, rule.id, rule.severity, hit.message, hit.hint, edits
                    )
                )
    if any(finding.rule == _UNCLOSED for finding in found):
        found = [one for one in found if one.rule == _UNCLOSED or not one.rule.startswith(_OF_PIECES)]
    if job.selection.profile == "auto":  # the published validators have an order of their own
        found.sort(key=lambda finding: (finding.line, finding.column, finding.rule))
    yield from found


def _parse_shells(jobs: Iterable[Job]) -> None:
    blocks = [
        (job.subject, fence)
        for job in jobs
        if job.subject.problem is None
        for language, fence in job.subject.languages
        if language in SHELLS
    ]
    if not blocks:
        return
    try:
        for result in broken_blocks([Block(fence.code, id(subject)) for subject, fence in blocks]):
            subject, fence = blocks[result.block]
            if isinstance(result, Unchecked):
                subject.unchecked_shells.append(ShellError(fence.line, result.why))
            else:
                subject.shell_errors.append(ShellError(fence.line + result.line, _safe(result.message)))
    except NoBashError:
        sys.stderr.write("note: there is no bash here, so shell blocks were not parsed (RB401).\n")


def _safe(message: str) -> str:
    """Bash quotes what it stumbles over."""
    from runbook_runner.core.redaction import Redactor

    return Redactor({}).clean(f"The block does not parse: {message}.")
