"""Command line: `runbook migrate`."""

import argparse
import sys
from pathlib import Path

from runbook_runner.cli.ui.output import put, write_back
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.runbook.authoring.diff import unified
from runbook_runner.runbook.document import parse
from runbook_runner.runbook.migration import Migration, migrate
from runbook_runner.runbook.sources.load import STDIN, load

DESCRIPTION = """\
What is not moved stays byte for byte; what could not be moved is named on stderr.

Exit codes: 0 done, or the file is v2 already; 2 the file can't be read.
"""

_PLATFORM = "On the platform the task needs `runbook_evals_version: 2` among its init_params."


def declare(parser: argparse.ArgumentParser) -> None:
    path = "A v1 RUNBOOK.md, a folder that holds one, or '-' for stdin."
    parser.add_argument("path", metavar="PATH", help=path)
    parser.add_argument("--write", action="store_true", help="Write the file; without this only the diff is shown.")


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError: the file does not exist, is not a runbook, or can't be written."""
    source, write = load(arguments.path), bool(arguments.write)
    if write and source.folder is None:
        raise InputError("Only a file can be written.", where=source.name, hint="Leave out --write to see the diff.")
    migration = migrate(parse(source.text, source.name))
    if migration is None:
        sys.stderr.write(f"{source.name}: this is a v2 runbook already; nothing to do\n")
        return ExitCode.PASS
    if write:
        _write(Path(source.name), migration.text)
    else:
        put(unified(source.text, migration.text, "RUNBOOK.md" if arguments.path == STDIN else source.name))
    _report(source.name, migration, write=write)
    return ExitCode.PASS


def _write(file: Path, text: str) -> None:
    """Keeps the byte order mark, if the file has one."""
    mark = "\ufeff" if file.read_bytes().startswith(b"\xef\xbb\xbf") else ""
    write_back(file, mark + text)


def _report(name: str, migration: Migration, *, write: bool) -> None:
    lines = [f"{name}: {'migrated' if write else 'would be migrated; --write does it'}"]
    lines += [f"  {done}" for done in migration.done]
    if migration.left:
        lines += ["Not moved, please check (lines of the old file):"]
        lines += [f"  {name}:{line}: {why}" for line, why in migration.left]
    if migration.stale:
        lines += ["Does not fit any more, please fix (lines of the new file):"]
        lines += [f"  {name}:{line}: {why}" for line, why in migration.stale]
    sys.stderr.write("\n".join([*lines, _PLATFORM]) + "\n")
