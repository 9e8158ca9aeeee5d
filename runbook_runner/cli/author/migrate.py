"""Command line: `runbook migrate`."""

import sys
from pathlib import Path

import typer

from runbook_runner.cli.ui.output import put
from runbook_runner.core.errors import InputError
from runbook_runner.core.files import rewrite
from runbook_runner.runbook.authoring.diff import unified
from runbook_runner.runbook.document import parse
from runbook_runner.runbook.migration import Migration
from runbook_runner.runbook.migration import migrate as migrated
from runbook_runner.runbook.sources.load import STDIN, load


def migrate(
    path: str = typer.Argument(..., metavar="PATH", help="A v1 RUNBOOK.md, a folder that holds one, or '-' for stdin."),
    write: bool = typer.Option(False, "--write", help="Write the file; without this only the diff is shown."),
) -> None:
    """Turn a v1 runbook into v2: its verification script and checklist become Code Checks and Checklist.

    What is not moved stays byte for byte; what could not be moved is named on stderr.

    Exit codes: 0 done, or the file is v2 already; 2 the file can't be read.
    """
    execute(path, write=write)


_PLATFORM = "On the platform the task needs `runbook_evals_version: 2` among its init_params."


def execute(path: str, *, write: bool) -> None:
    """Raises InputError: not there, not a runbook, can't be written."""
    source = load(path)
    if write and source.folder is None:
        raise InputError("Only a file can be written.", where=source.name, hint="Leave out --write to see the diff.")
    migration = migrated(parse(source.text, source.name))
    if migration is None:
        sys.stderr.write(f"{source.name}: this is a v2 runbook already; nothing to do\n")
        return
    if write:
        _write(Path(source.name), migration.text)
    else:
        put(unified(source.text, migration.text, "RUNBOOK.md" if path == STDIN else source.name))
    _report(source.name, migration, write=write)


def _write(file: Path, text: str) -> None:
    try:
        mark = "\ufeff" if file.read_bytes().startswith(b"\xef\xbb\xbf") else ""
        rewrite(file, mark + text)
    except OSError as error:
        raise InputError(f"The file can't be written: {error.strerror}.", where=str(file)) from error


def _report(name: str, migration: Migration, *, write: bool) -> None:
    lines = [f"{name}: {'migrated' if write else 'would be migrated; --write does it'}"]
    lines += [f"  {done}" for done in migration.done]
    if migration.left:
        lines += ["Not moved, please look (lines of the old file):"]
        lines += [f"  {name}:{line}: {why}" for line, why in migration.left]
    if migration.stale:
        lines += ["Does not fit any more, please mend (lines of the new file):"]
        lines += [f"  {name}:{line}: {why}" for line, why in migration.stale]
    sys.stderr.write("\n".join([*lines, _PLATFORM]) + "\n")
