"""Command line: `runbook fmt`."""

import sys
from dataclasses import dataclass
from pathlib import Path

import typer

from runbook_runner.cli.ui.output import put
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.files import rewrite
from runbook_runner.runbook.authoring.diff import unified
from runbook_runner.runbook.authoring.fmt import formatted
from runbook_runner.runbook.check.files import files
from runbook_runner.runbook.sources.load import STDIN, read_bounded, read_stdin, text_of


def fmt(
    paths: list[str] = typer.Argument(
        ..., metavar="PATH...", help="Files, folders to search for RUNBOOK.md, globs, or '-' for stdin to stdout."
    ),
    check: bool = typer.Option(False, "--check", help="Write nothing; name the files that would change."),
    diff: bool = typer.Option(False, "--diff", help="Write nothing; show what would change."),
) -> None:
    """Put tables in line and frontmatter keys in order. All else stays byte for byte.

    Exit codes: 0 done or nothing to do, 1 something would change (--check, --diff), 2 a file can't be read.
    """
    raise typer.Exit(execute(tuple(paths), check=check, diff=diff))


@dataclass(frozen=True)
class _File:
    name: str
    before: str
    after: str

    @property
    def differs(self) -> bool:
        return self.before != self.after


def execute(paths: tuple[str, ...], *, check: bool, diff: bool) -> int:
    """The exit code. A file that is no runbook is reported and the others are still done.

    Raises InputError, before anything is done, for a path that means nothing.
    """
    code, done = int(ExitCode.PASS), []
    for path in files(paths):
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


def _read(path: str) -> _File:
    """The text with its byte order mark, if any, so that writing it back changes nothing else."""
    name = "<stdin>" if path == STDIN else path
    raw = read_stdin() if path == STDIN else read_bounded(Path(path))
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
        try:
            rewrite(Path(file.name), file.after)
        except OSError as error:
            raise InputError(f"The file can't be written: {error.strerror}.", where=file.name) from error


def _summarise(done: list[_File], *, would: bool) -> None:
    changed = sum(file.differs for file in done)
    verb = "would be formatted" if would else "formatted"
    sys.stderr.write(f"{changed} of {len(done)} file{'' if len(done) == 1 else 's'} {verb}\n")
