"""Sandboxes without an engine: reads and writes a folder that a hostile process may change at the same time. No link is
ever followed."""

import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.errors import InputError
from runbook_runner.sandbox.base import PutFile
from runbook_runner.sandbox.extract import Extraction, FullError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # non-blocking: opening a pipe would wait
_ENTER = stat.S_IRUSR | stat.S_IXUSR
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


def fetch(root: Path, parts: tuple[str, ...], extraction: Extraction, sandbox_path: str) -> None:
    """Hands the file or tree at root/parts to the extraction, if it exists."""
    folder = _descend(root, parts[:-1])
    if folder is None:
        return
    with _closing(folder), suppress(FullError):
        _entry(folder, parts[-1] if parts else ".", (), extraction, sandbox_path)


def store(root: Path, parts: tuple[str, ...], file: PutFile) -> None:
    """Writes the file at root/parts, its missing parents with mode 0777. Written aside, then renamed, so that a link of
    that name is replaced. Raises InputError when a link is on the way or the source can't be read, OSError."""
    *above, name = parts
    folder = os.open(root, _FOLDER)
    for part in above:
        inner = _enter(folder, part, file.path)
        os.close(folder)
        folder = inner
    aside = f".{secrets.token_hex(6)}.part"
    with _closing(folder):
        try:
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
            with os.fdopen(descriptor, "wb") as out:
                _copy(file, out)
                os.fchmod(descriptor, file.mode)
            os.replace(aside, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(aside, dir_fd=folder)
            raise


def _enter(folder: int, part: str, path: str) -> int:
    try:
        os.mkdir(part, dir_fd=folder)
        made = True
    except FileExistsError:
        made = False
    try:
        inner = os.open(part, _FOLDER, dir_fd=folder)
    except OSError as error:
        os.close(folder)
        raise InputError(f"{path}: {part} is not a folder, or a link that leads out of the sandbox.") from error
    if made:
        os.fchmod(inner, 0o777)
    return inner


def _copy(file: PutFile, out: IO[bytes]) -> None:
    if isinstance(file.source, bytes):
        out.write(file.source)
        return
    try:
        content = open_regular(file.source) if isinstance(file.source, Path) else file.source.open("rb")
    except OSError as error:
        raise InputError(f"Can't read {file.source}: {error.strerror}.") from error
    with content as readable:
        while block := readable.read(1 << 20):
            out.write(block)


def _descend(root: Path, parts: tuple[str, ...]) -> int | None:
    """Returns a descriptor of the folder root/parts, reached without following a link; `None` when it can't be
    reached."""
    folder: int | None = None
    for part in (str(root), *parts):
        try:
            inner: int | None = _open_folder(part, folder)
        except OSError:
            inner = None
        if folder is not None:
            os.close(folder)
        if inner is None:
            return None
        folder = inner
    return folder


def _entry(folder: int, name: str, above: tuple[str, ...], extraction: Extraction, sandbox_path: str | None) -> None:
    """sandbox_path: set for the fetched path itself, whose name is not part of what is stored unless it is a file."""
    parts = above if sandbox_path else (*above, name)
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        extraction.skip(parts or (name,), f"can't be read ({error.strerror})")
        return
    if stat.S_ISDIR(mode):
        _folder(folder, name, parts, extraction)
    elif stat.S_ISREG(mode):
        _file(folder, name, parts or (name,), extraction, sandbox_path)
    else:
        extraction.skip(parts or (name,), _KINDS.get(stat.S_IFMT(mode), "not a regular file"))


def _folder(parent: int, name: str, parts: tuple[str, ...], extraction: Extraction) -> None:
    if parts and not extraction.folder(parts):
        return
    try:
        folder = _open_folder(name, parent)
    except OSError as error:
        extraction.skip(parts or (name,), f"can't be read ({error.strerror})")
        return
    with _closing(folder):
        for inner in sorted(os.listdir(folder)):  # noqa: PTH208 - of a descriptor
            _entry(folder, inner, parts, extraction, None)


def _file(folder: int, name: str, parts: tuple[str, ...], extraction: Extraction, sandbox_path: str | None) -> None:
    try:
        descriptor = _open(name, _FILE, folder)
    except OSError as error:
        extraction.skip(parts, f"can't be read ({error.strerror})")
        return
    with os.fdopen(descriptor, "rb") as content:
        seen = os.fstat(descriptor)
        if stat.S_ISREG(seen.st_mode):
            stamp, executable = (seen.st_size, seen.st_mtime), bool(seen.st_mode & 0o111)
            extraction.file(parts, content, stamp, executable=executable, sandbox_path=sandbox_path)
        else:
            extraction.skip(parts, "not a regular file")


def _open_folder(name: str, above: int | None) -> int:
    folder = _open(name, _FOLDER, above)
    if os.fstat(folder).st_mode & _ENTER != _ENTER:
        with suppress(OSError):  # another user owns it
            os.fchmod(folder, 0o700)
    return folder


def _open(name: str, flags: int, folder: int | None) -> int:
    """Also opens what its owner, this user, has no permission to read."""
    try:
        return os.open(name, flags, dir_fd=folder)
    except PermissionError:
        if sys.platform != "linux":
            raise
        with _closing(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)) as place:
            os.chmod(f"/proc/self/fd/{place}", 0o700)  # noqa: PTH101 - of a descriptor
        return os.open(name, flags, dir_fd=folder)


@contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        with suppress(OSError):
            os.close(descriptor)
