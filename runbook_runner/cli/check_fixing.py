"""Command line: `runbook check --fix` writes the safe fixes, `--diff` only shows them."""

import sys
from collections.abc import Sequence
from pathlib import Path

from runbook_runner.cli.check_surroundings import HERE
from runbook_runner.cli.checking import FOUND, Arguments, Target, read, report
from runbook_runner.errors import ExitCode, InputError
from runbook_runner.files import write_atomically
from runbook_runner.runbook.check.engine import refusal
from runbook_runner.runbook.check.findings import Finding
from runbook_runner.runbook.check.fixing import difference, fixed


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
            sys.stdout.buffer.write(difference(raw, mended, target.name).encode())
            sys.stdout.buffer.flush()
    elif target.folder is None:
        sys.stdout.buffer.write(mended)
        sys.stdout.buffer.flush()
    elif mended != raw:
        _write(Path(target.name), mended)


def _write(path: Path, mended: bytes) -> None:
    """Through a link to the file it means, with its permissions."""
    try:
        file = path.resolve()
        mode = file.stat().st_mode
        write_atomically(file, mended)
        file.chmod(mode & 0o7777)
    except OSError as error:
        raise InputError(f"The file can't be written: {error.strerror}.", where=str(path)) from error
