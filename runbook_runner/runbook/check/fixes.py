"""Room `runbook`, `check`: safe fixes: what they touch changes, everything else stays byte for byte."""

from collections.abc import Sequence
from pathlib import Path

from runbook_runner.runbook.check.engine import findings_of, job
from runbook_runner.runbook.check.rules import Selection
from runbook_runner.runbook.check.rules.findings import Edit, Finding
from runbook_runner.runbook.check.rules.known_names import NOWHERE, Surroundings

_ROUNDS = 10  # one fix may uncover another, as a frontmatter that was never seen; each round must change something


def fixed(
    raw: bytes, name: str, folder: Path | None, selection: Selection, surroundings: Surroundings = NOWHERE
) -> tuple[bytes, tuple[Finding, ...]]:
    """The fixed file and the findings that are left. Fixing it again changes nothing.

    Raises InputError for bytes that are not text.
    """
    for _ in range(_ROUNDS):
        work = job(raw, name, folder, selection, surroundings)
        (findings,) = findings_of([work])
        changed = _apply(work.subject.text, [edit for finding in findings for edit in finding.edits])
        if changed == work.subject.text:
            break
        raw = changed.encode()
    return raw, findings


def _apply(text: str, edits: Sequence[Edit]) -> str:
    """All edits that do not overlap an earlier one; the others have their turn in the next round."""
    parts, position = [], 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        if edit.start >= position:
            parts += [text[position : edit.start], edit.text]
            position = edit.end
    return "".join([*parts, text[position:]])
