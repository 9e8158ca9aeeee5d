"""Core, disk: files and folders reached without following a link that others have put there."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

REPOSITORY: Final = (".git", ".hg", ".runbook")
"""What marks the top folder of one."""
_CLONED: Final = (".git", ".hg")
_OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_regular(path: Path) -> BinaryIO:
    """Opens a file for reading. Waits for nothing. Raises OSError, also for a link, a pipe, a device and a folder."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link, not a regular file", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def within_repository(file: Path) -> Path:
    """Returns the real path of a file. Raises OSError for a link that leads out of the repository that it is in, be it
    the file or a folder on the way to it: a clone may have brought it. Without a repository, the file may be no link
    out of its folder."""
    path = file.absolute()
    if os.path.realpath(path) == str(path):
        return file
    top: Path | None = None
    for part in (*reversed(path.parents), path):
        real = Path(os.path.realpath(part))
        bound = top or (Path(os.path.realpath(path.parent)) if part == path else None)
        if bound and os.path.islink(part) and not real.is_relative_to(bound):  # noqa: PTH114 - it never raises
            what = "it" if part == path else str(part)
            raise OSError(errno.ELOOP, f"{what} is a link that leads out of {bound}", str(file))
        top = top if top and real.is_relative_to(top) else None  # `..` may have left it
        if _is_repository(real):
            top = real
    return real


def repository_of(folder: Path) -> Path:
    """Returns the real path of the nearest repository that a folder is in, which is never the home or above it; of the
    folder itself where there is none."""
    here = Path(os.path.realpath(folder))
    return next(filter(_is_repository, (here, *here.parents)), here)


def clone_of(folder: Path) -> Path:
    """Returns the real path of the outermost working copy of git or Mercurial that a folder is in, else of its
    repository: all of it may have come together. A clone can bring folders that look like repositories of their own."""
    here = Path(os.path.realpath(folder))
    cloned = (top for top in (here, *here.parents) if any(os.path.exists(top / mark) for mark in _CLONED))  # noqa: PTH110
    return next(filter(_is_repository, reversed([*cloned])), None) or repository_of(here)


def _is_repository(real: Path) -> bool:
    """Whether this real path has a mark; never the home or above it."""
    home = Path(os.path.realpath(os.path.expanduser("~")))  # noqa: PTH111 - a user without a home is not an error here
    return has_mark(real) and not home.is_relative_to(real)


def has_mark(folder: Path) -> bool:
    """Whether it is the top folder of a repository. Never raises: a folder above may be closed to this user."""
    return any(os.path.exists(folder / name) for name in REPOSITORY)  # noqa: PTH110


def open_found(file: Path) -> BinaryIO:
    """As `open_regular`; a link is followed as `within_repository` says."""
    return open_regular(within_repository(file))


def is_hidden(real: Path, folder: Path) -> bool:
    """Whether a name on the way from a folder to a real path below it begins with a dot. In a clone such files may be
    the user's own: `.env`, or `.git/config` with the password of an address."""
    return any(part.startswith(".") for part in real.relative_to(folder).parts)


def first_link(top: Path, levels: int) -> Path | None:
    """Returns the first link that is `top` or lies so many levels below it; `None` when there is none."""
    if os.path.islink(top):  # noqa: PTH114 - it never raises
        return top
    with suppress(OSError), os.scandir(top) as entries:
        for entry in entries:
            inner = Path(entry.path)
            if entry.is_symlink():
                return inner
            if levels > 1 and entry.is_dir(follow_symlinks=False) and (found := first_link(inner, levels - 1)):
                return found
    return None


def offered_in(project: Path, folder: Path) -> list[Path]:
    """Returns what is in a folder of a project, such as `.runbook/agents`, in order of names. A folder behind a link is
    not the project's, so nothing is found there."""
    if any(os.path.islink(project / place) for place in (folder, folder.parent)):  # noqa: PTH114 - it never raises
        return []
    try:
        return sorted(Path(entry.path) for entry in os.scandir(project / folder))
    except OSError:
        return []


def copy_tree(source: Path, target: Path) -> None:
    """Copies the regular files of a folder without links into `target`, a folder, with the usual permissions. A file
    or link of the same name is replaced; a link where a folder has to be is not followed. Raises OSError."""
    folder = os.open(target, _OPEN_FOLDER & ~os.O_NOFOLLOW)
    try:
        _copy_into(folder, source, target)
    finally:
        os.close(folder)


def _copy_into(folder: int, source: Path, shown: Path) -> None:
    with os.scandir(source) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            with _inner(folder, entry.name, shown) as inner:
                _copy_into(inner, Path(entry.path), shown / entry.name)
        elif entry.is_file(follow_symlinks=False):
            _copy_file(Path(entry.path), folder, entry.name)


@contextmanager
def _inner(folder: int, name: str, shown: Path) -> Iterator[int]:
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
    try:
        inner = os.open(name, _OPEN_FOLDER, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise OSError(errno.ENOTDIR, "it is a link or a file, not a folder", str(shown / name)) from error
        raise
    try:
        yield inner
    finally:
        os.close(inner)


def _copy_file(source: Path, folder: int, name: str) -> None:
    aside = f".{os.urandom(6).hex()}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(aside, flags, 0o666, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as out, open_regular(source) as content:
            while block := content.read(1 << 20):
                out.write(block)
        os.replace(aside, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(aside, dir_fd=folder)
        raise
