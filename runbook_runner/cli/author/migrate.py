"""Command line: `runbook migrate`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from runbook_runner.cli.author.check_files import HERE, findings_of_text
from runbook_runner.cli.ui.output import put, write_back
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.files import read_found
from runbook_runner.core.settings import RUNBOOK_FILE
from runbook_runner.runbook.authoring.diff import unified
from runbook_runner.runbook.check.rules.findings import Finding
from runbook_runner.runbook.document import parse
from runbook_runner.runbook.migration import Migration, migrate
from runbook_runner.runbook.sources.load import STDIN, load

DESCRIPTION = """\
What is not moved stays byte for byte, but for the banner FINAL OUTPUT VERIFICATION, which marks a v1 file. What could
not be moved is named on stderr, and so is what `runbook check` finds in the new file and did not find in the old one,
and all that `runbook check --profile v2` finds there.

Exit codes: 0 done, or the file is v2 already; 2 the file can't be read.
"""

_PLATFORM = (
    "Runs on this machine need nothing else. For runs on the hosted platform, set `runbook_evals_version` to 2 in the "
    "`init_params` of the task: without it the platform takes the file for v1."
)


def declare(parser: argparse.ArgumentParser) -> None:
    path = "A v1 RUNBOOK.md, a folder that holds one, or '-' for stdin."
    parser.add_argument("path", metavar="PATH", help=path)
    parser.add_argument("--write", action="store_true", help="Write the file; without this only the diff is shown.")


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError: the file does not exist, is not a runbook, or can't be written."""
    source, write = load(arguments.path), bool(arguments.write)
    if write and source.folder is None:
        raise InputError("Only a file can be written.", where=source.name, hint="Leave out --write to see the diff.")
    runbook = parse(source.text, source.name)
    facts = HERE.find_agent(runbook.frontmatter.agent, source.folder) if runbook.frontmatter.agent else None
    migration = migrate(runbook, runs_blocks=facts is not None and facts.runs_blocks)
    if migration is None:
        sys.stderr.write(f"{source.name}: this is a v2 runbook already; nothing to do\n")
        return ExitCode.PASS
    if write:
        _write(Path(source.name), migration.text)
    else:
        put(unified(source.text, migration.text, RUNBOOK_FILE if arguments.path == STDIN else source.name))
    path = source.name if source.folder else STDIN
    before = {finding.message for finding in findings_of_text(source.text, path)}
    new = {finding for finding in findings_of_text(migration.text, path) if finding.message not in before}
    new.update(findings_of_text(migration.text, path, "v2"))
    _report(source.name, migration, sorted(new, key=lambda one: (one.line, one.rule)), write=write)
    return ExitCode.PASS


def _write(file: Path, text: str) -> None:
    """Keeps the byte order mark, if the file has one."""
    mark = "\ufeff" if read_found(file).startswith(b"\xef\xbb\xbf") else ""
    write_back(file, mark + text)


def _report(name: str, migration: Migration, findings: Sequence[Finding], *, write: bool) -> None:
    """findings: those of the new file that the old one did not have, and all that the v2 validator has."""
    moved = "migrated" if write else "would be migrated; --write does it"
    lines = [f"{name}: {moved if migration.done else 'nothing of it can be moved without you'}"]
    lines += [f"  {done}" for done in migration.done]
    if migration.left:
        lines += ["Not moved, please check (lines of the old file):"]
        lines += [f"  {name}:{line}: {why}" for line, why in migration.left]
    if migration.stale:
        lines += ["Does not fit any more, please fix (lines of the new file):"]
        lines += [f"  {name}:{line}: {why}" for line, why in migration.stale]
    if findings:
        lines += ["Findings of `runbook check`, also with --profile v2, please fix (lines of the new file):"]
        for one in findings:
            hint = f" {one.hint}" if one.hint else ""
            lines.append(f"  {name}:{one.line}: {one.severity}: {one.message} [{one.rule}]{hint}")
    sys.stderr.write("\n".join([*lines, _PLATFORM]) + "\n")
