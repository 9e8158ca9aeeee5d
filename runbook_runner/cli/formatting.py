"""Command line: what `runbook fmt` does: files → normal form, written, listed or shown as a diff."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runbook_runner.errors import ExitCode, InputError
from runbook_runner.files import rewrite
from runbook_runner.runbook.diff import unified
from runbook_runner.runbook.fmt import formatted
from runbook_runner.runbook.source import STDIN, load, read_bounded, text_of

_SKIPPED = frozenset({"node_modules", "__pycache__"})
_NAME = "RUNBOOK.md"


@dataclass(frozen=True)
class _File:
    name: str
    before: str
    after: str

    @property
    def differs(self) -> bool:
        return self.before != self.after


def execute(paths: tuple[str, ...], *, check: bool, diff: bool) -> int:
    """The exit code. A file that can't be read is reported and the others are still done."""
    code, done = int(ExitCode.PASS), []
    for path in _files(paths):
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


def _files(paths: tuple[str, ...]) -> Iterator[str]:
    for path in paths:
        if path != STDIN and Path(path).is_dir():
            yield from _below(Path(path))
        else:
            yield path


def _below(folder: Path) -> Iterator[str]:
    """Raises InputError for a folder without any: whoever named it expected one."""
    found = sorted(p for p in folder.rglob(_NAME) if p.is_file() and not _is_skipped(p.relative_to(folder)))
    if not found:
        raise InputError(f"There is no {_NAME} in this folder.", where=str(folder))
    yield from map(str, found)


def _is_skipped(path: Path) -> bool:
    return any(part in _SKIPPED or part.startswith(".") for part in path.parts)


def _read(path: str) -> _File:
    """The text with its byte order mark, if any, so that writing it back changes nothing else."""
    if path == STDIN:
        source = load(path)
        return _File(source.name, source.text, formatted(source.text, source.name))
    raw = read_bounded(Path(path))
    text = ("\ufeff" if raw.startswith(b"\xef\xbb\xbf") else "") + text_of(raw, path)
    return _File(path, text, formatted(text, path))


def _put(file: _File, *, check: bool, diff: bool) -> None:
    if diff:
        sys.stdout.write(unified(file.before, file.after, file.name))
    elif check and file.differs:
        sys.stdout.write(f"{file.name}\n")
    elif not check and file.name == "<stdin>":
        sys.stdout.write(file.after)
    elif not check and file.differs:
        try:
            rewrite(Path(file.name), file.after)
        except OSError as error:
            raise InputError(f"The file can't be written: {error.strerror}.", where=file.name) from error


def _summarise(done: list[_File], *, would: bool) -> None:
    changed = sum(file.differs for file in done)
    verb = "would be formatted" if would else "formatted"
    sys.stderr.write(f"{changed} of {len(done)} file{'' if len(done) == 1 else 's'} {verb}\n")
