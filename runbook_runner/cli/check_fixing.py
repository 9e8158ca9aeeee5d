"""Command line: `runbook check --fix` writes the safe fixes, `--diff` only shows them."""

from collections.abc import Sequence
from pathlib import Path

from runbook_runner.cli.check_surroundings import HERE
from runbook_runner.cli.checking import FOUND, Arguments, Target, read, report
from runbook_runner.cli.documents import put
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.files import rewrite
from runbook_runner.runbook.authoring.diff import unified
from runbook_runner.runbook.check.engine import refusal
from runbook_runner.runbook.check.fixes import fixed
from runbook_runner.runbook.check.rules.findings import Finding


def fix(targets: Sequence[Target], arguments: Arguments) -> int:
    """The exit code: with --diff 1 when there is something to fix, else 1 when something is left after the fixes."""
    left: list[Finding] = []
    differs = False
    for target in targets:
        try:
            raw = read(target)
            mended, findings = fixed(raw, target.name, target.folder, target.selection, HERE)
        except InputError as error:
            left.append(refusal(error, target.name))
            continue
        left += findings
        differs = differs or mended != raw
        _deliver(target, raw, mended, arguments)
    if arguments.diff:
        return FOUND if differs or any(finding.rule == "RB101" for finding in left) else ExitCode.PASS
    if any(target.folder is None for target in targets):
        return FOUND if left else ExitCode.PASS  # stdout carries the text
    return report(targets, left, arguments.format)


def _deliver(target: Target, raw: bytes, mended: bytes, arguments: Arguments) -> None:
    if arguments.diff:
        if mended != raw:
            put(unified(raw.decode(), mended.decode(), target.name))
    elif target.folder is None:
        put(mended)
    elif mended != raw:
        _write(Path(target.name), mended)


def _write(path: Path, mended: bytes) -> None:
    try:
        rewrite(path, mended)
    except OSError as error:
        raise InputError(f"The file can't be written: {error.strerror}.", where=str(path)) from error
