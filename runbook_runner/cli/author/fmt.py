"""Command line: `runbook fmt`."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from runbook_runner.cli.ui.output import put, write_back
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.files import read_found, text_of
from runbook_runner.runbook.authoring.diff import unified
from runbook_runner.runbook.authoring.fmt import formatted
from runbook_runner.runbook.check.files import files
from runbook_runner.runbook.sources.load import STDIN, read_stdin

DESCRIPTION = """\
All else stays byte for byte.

Exit codes: 0 done or nothing to do, 1 something would change (--check, --diff), 2 a file can't be read.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    paths = "Files, folders to search for RUNBOOK.md, globs, or '-' for stdin to stdout."
    parser.add_argument("paths", nargs="+", metavar="PATH", help=paths)
    parser.add_argument("--check", action="store_true", help="Write nothing; name the files that would change.")
    parser.add_argument("--diff", action="store_true", help="Write nothing; show what would change.")


def execute(arguments: argparse.Namespace) -> int:
    """Returns the exit code. A file that is not a runbook is reported, and the others are formatted.

    Raises InputError, before anything is written, for a path that does not exist.
    """
    check, diff = bool(arguments.check), bool(arguments.diff)
    code, done = int(ExitCode.PASS), []
    for path in files(arguments.paths):
        try:
            file = _read(path)
            _put(file, check=check, diff=diff)
        except InputError as error:
            sys.stderr.write(f"error: {error}\n")
            code = ExitCode.BAD_INPUT
        else:
            done.append(file)
    _summarise(done, would=check or diff)
    would_change = (check or diff) and any(file.differs for file in done)
    return code or (ExitCode.VERDICT_FAIL if would_change else ExitCode.PASS)


@dataclass(frozen=True)
class _File:
    name: str
    before: str
    after: str

    @property
    def differs(self) -> bool:
        return self.before != self.after


def _read(path: str) -> _File:
    """Keeps a byte order mark in the text, so that writing it back changes nothing else."""
    name = "<stdin>" if path == STDIN else path
    raw = read_stdin() if path == STDIN else read_found(Path(path))
    text = ("\ufeff" if raw.startswith(b"\xef\xbb\xbf") else "") + text_of(raw, name)
    return _File(name, text, formatted(text, name))


def _put(file: _File, *, check: bool, diff: bool) -> None:
    if diff:
        put(unified(file.before, file.after, file.name))
    elif check and file.differs:
        sys.stdout.write(f"{file.name}\n")
    elif not check and file.name == "<stdin>":
        put(file.after)
    elif not check and file.differs:
        write_back(Path(file.name), file.after)


def _summarise(done: list[_File], *, would: bool) -> None:
    changed = sum(file.differs for file in done)
    verb = "would be formatted" if would else "formatted"
    sys.stderr.write(f"{changed} of {len(done)} file{'' if len(done) == 1 else 's'} {verb}\n")
