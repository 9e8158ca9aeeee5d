"""Runner, suite: what a suite, or a runbook that is evaluated, may name on this machine. Both may be a stranger's; what
lies beside them may be the user's own: another project with its secrets, `.git/config`, a file that is not
committed."""

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Final

from runbook_runner.core.disk.git_index import is_of_user
from runbook_runner.core.disk.repository import CLONED, clone_of, has_mark, is_hidden, is_no_project
from runbook_runner.core.disk.walk import walk
from runbook_runner.core.errors import InputError
from runbook_runner.core.files import is_folder

_MOST_PARTS, _LONGEST_PART = 10, 255
_HINT: Final = "It may be your own, and not the suite's."
_OUTSIDE: Final = "A suite names files of its own project only."


def named_in(suite: Path, path: Path, where: str | None) -> Path:
    """The real path of a file or folder that a suite names. Raises InputError for one that is not of its own project,
    or may not have come with it."""
    try:
        top, found = clone_of(suite.parent), Path(os.path.realpath(suite.parent / path))
    except ValueError as error:  # NUL
        raise InputError(f"{str(path)!r} is no path.", where=where) from error
    if top is None:
        hint = f"{suite.absolute().parent} is no project: move the suite, with its runbooks, into a folder of its own."
        raise InputError(_OUTSIDE, where=where, hint=hint)
    if not found.is_relative_to(top):
        raise InputError(_OUTSIDE, where=where, hint=f"{path} is outside of it.")
    if any(has_mark(folder, CLONED) for folder in (found, *found.parents) if folder != top and top in folder.parents):
        raise InputError(_OUTSIDE, where=where, hint=f"{path} is in a clone of its own.")
    if is_hidden(found, top):
        raise InputError(f"{path} is hidden.", where=where, hint=_HINT)
    if is_of_user(found, Path(os.path.realpath(suite))):
        raise InputError(f"{path} is no file of its repository.", where=where, hint=f"{_HINT} If it is, `git add` it.")
    return found


def cases_of(document: Path, pattern: str) -> Iterator[Path]:
    """The files below a runbook's folder that a pattern names; a wildcard stands for no hidden one. Raises InputError
    for a pattern that leads out of it or anywhere, for what may not have come with the runbook, and as `walk`."""
    parts = PurePosixPath(pattern).parts
    if not parts or pattern.startswith("/") or {"..", "**"} & set(parts) or len(parts) > _MOST_PARTS:
        raise InputError(f"{pattern!r} is no pattern of files below a runbook.", hint="Such as examples/*/input.json.")
    if any(len(part) > _LONGEST_PART or "\0" in part for part in parts):
        raise InputError(f"No file has a name like in {pattern[:100]!r}.")
    folder = document.parent
    above = len(folder.parts)

    def fits(entry: "os.DirEntry[str]") -> bool:
        """As far as it goes: in each folder that is entered, only the last part is new."""
        names = Path(entry.path).parts[above:]
        return len(names) <= len(parts) and _fits(names[-1], parts[len(names) - 1])

    for entry in walk(folder, enters=fits):
        path = Path(entry.path)
        is_whole = len(path.parts) - above == len(parts)
        if fits(entry) and (entry.is_file() if is_whole else entry.is_symlink() and is_folder(path)):
            _require_own(document, path)  # which no link is
            yield path


def _fits(name: str, part: str) -> bool:
    return fnmatchcase(name, part) and (part.startswith(".") or not name.startswith("."))


def expected_of(document: Path, fixture: Path) -> Path | None:
    """The folder with the files that must come out of a case; `None` when there is none. Raises InputError for files
    that may not have come with the runbook."""
    folder = fixture.parent / "expected"
    if not os.path.lexists(folder):
        return None
    _require_own(document, folder)
    for entry in walk(folder):
        _require_own(document, Path(entry.path))
    return folder


def _require_own(document: Path, path: Path) -> None:
    """path: below the runbook's folder. Raises InputError."""
    folder = Path(os.path.realpath(document.parent))
    meant = folder / path.relative_to(document.parent)
    if Path(os.path.realpath(path)) != meant:
        raise InputError("A case and what it expects are no links.", where=str(path))
    if is_no_project(folder):
        hint = f"{folder} is no project: move the runbook, with its cases, into a folder of its own."
        raise InputError("This file may be your own, and not a case of the runbook.", where=str(path), hint=hint)
    if is_hidden(meant, folder):
        raise InputError("This file of a case is hidden.", where=str(path), hint=_HINT)
    if is_of_user(meant, Path(os.path.realpath(document))):
        hint = "It may be your own, and not the runbook's. If it is the runbook's, `git add` it."
        raise InputError("This file of a case is no file of its repository.", where=str(path), hint=hint)
