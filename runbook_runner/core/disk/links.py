"""Core, disk: files and folders reached without following a link that others have put there."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

from runbook_runner.core.disk.repository_files import HeadError, HeadGuard, repository_in
from runbook_runner.core.disk.walk import MOST_RECORDED, walk

MAX_OFFERS: Final = 100
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


def offered_in(project: Path, folder: Path) -> list[Path]:
    """Returns what is in a folder of a project, such as `.runbook/agents`, in order of names: MAX_OFFERS at most, for a
    clone can bring thousands, each of which is looked at for each other. A folder behind a link is not the project's,
    so nothing is found there."""
    if any(os.path.islink(project / place) for place in (folder, folder.parent)):  # noqa: PTH114 - it never raises
        return []
    try:
        with os.scandir(project / folder) as entries:
            return sorted(Path(entry.path) for entry in islice(entries, MAX_OFFERS))
    except OSError:
        return []


def copy_tree(source: Path, target: Path) -> None:
    """Copies the regular files of a folder without links into `target`, a folder, with the usual permissions, but for
    those of a repository. A file or link of the same name is replaced; a link where a folder has to be is not followed.
    source: of a run's record, which had its bounds when this program wrote it: another's may have files of any size.
    Raises OSError."""
    for entry in walk(source, enters=lambda folder: not repository_in([folder.name]), most=MOST_RECORDED):
        path = Path(entry.path)
        if repository_in([entry.name]):
            continue
        copy = target / path.relative_to(source)
        if entry.is_dir(follow_symlinks=False):
            with _folder_in(target, copy):
                pass
        elif entry.is_file(follow_symlinks=False):
            with _folder_in(target, copy.parent) as folder, suppress(HeadError):
                _copy_file(path, folder, copy)


@contextmanager
def _folder_in(top: Path, shown: Path) -> Iterator[int]:
    """A descriptor of a folder that is `top` or below it, made where it is missing."""
    folder, here = os.open(top, _OPEN_FOLDER & ~os.O_NOFOLLOW), top
    try:
        for name in shown.relative_to(top).parts:
            here /= name
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=folder)
            inner = _open_in(folder, here)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _open_in(folder: int, shown: Path) -> int:
    try:
        return os.open(shown.name, _OPEN_FOLDER, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise OSError(errno.ENOTDIR, "it is a link or a file, not a folder", str(shown)) from error
        raise


def _copy_file(source: Path, folder: int, shown: Path) -> None:
    """shown: the copy, as its user names it."""
    try:
        _copy_content(source, folder, shown.name)
    except OSError as error:  # it names a file that the user does not know
        raise OSError(error.errno, error.strerror, str(shown)) from error


def _copy_content(source: Path, folder: int, name: str) -> None:
    aside = f".{os.urandom(6).hex()}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    mode = 0o777 if os.access(source, os.X_OK) else 0o666
    descriptor, guard = os.open(aside, flags, mode, dir_fd=folder), HeadGuard(name)
    try:
        with os.fdopen(descriptor, "wb") as out, open_regular(source) as content:
            while block := content.read(1 << 20):
                guard.look(block)
                out.write(block)
        os.replace(aside, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(aside, dir_fd=folder)
        raise
