"""Core: finds files by names from outside, and reads them within bounds; writes whole files: aside under a hidden name,
then renamed, so that no reader sees half of one."""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

from runbook_runner.core.disk.links import MAX_OFFERS, offered_in
from runbook_runner.core.disk.repository import open_found, within_repository
from runbook_runner.core.errors import InputError
from runbook_runner.core.settings import MAX_RUNBOOK_BYTES

_OPENED_BY_SHELLS: Final = ("/dev/fd/", "/proc/self/fd/", "/dev/stdin")
_USUAL: Final = 1 << 17  # room for 5 MB is asked for only when a file has more than this: it costs a millisecond


def read_text(file: Path, what: str, most: int = MAX_RUNBOOK_BYTES) -> str:
    """`read_bounded` and `text_of`."""
    return text_of(read_bounded(file, what, most), str(file))


def read_bounded(file: Path, what: str = "file", most: int = MAX_RUNBOOK_BYTES) -> bytes:
    """The bytes of a file that the user has named. what: how messages call it. Raises InputError when it can't be read
    or has more than `most`."""
    return _read(file, lambda: file.open("rb"), what, most)


def read_found(file: Path, what: str = "file", most: int = MAX_RUNBOOK_BYTES) -> bytes:
    """As `read_bounded`, for a file that may have come with a clone: only a regular one, and no link out of its
    repository. What a shell opens for its user, as in `<(…)`, is read as well."""
    return _read(file, lambda: file.open("rb") if is_opened_by_shell(file) else open_found(file), what, most)


def is_opened_by_shell(file: Path) -> bool:
    """Whether its user had a shell open it, so that no clone has brought it."""
    return str(file).startswith(_OPENED_BY_SHELLS)


def _read(file: Path, opened: Callable[[], BinaryIO], what: str, most: int) -> bytes:
    try:
        with opened() as stream:
            return read_stream(stream, str(file), what, most)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error  # of a path with a NUL
        raise InputError(f"The {what} can't be read: {reason or error}.", where=str(file)) from error


def read_stream(stream: BinaryIO, name: str, what: str = "file", most: int = MAX_RUNBOOK_BYTES) -> bytes:
    """As `read_bounded`. name: of the file, for messages."""
    raw = stream.read(_USUAL)
    if len(raw) == _USUAL:
        raw += stream.read(most + 1 - _USUAL)
    if len(raw) > most:
        raise InputError(f"The {what} has more than {most // 1_000_000} MB.", where=name)
    return raw


def text_of(raw: bytes, name: str) -> str:
    """Raises InputError, with the line, for what is not UTF-8 text."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError("This is not UTF-8 text.", where=f"{name}:{line}", hint="Save the file as UTF-8.") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError("There is a NUL byte: this is not a text file.", where=f"{name}:{line}")
    return text


@contextmanager
def opened_atomically(path: Path, *, mode: int | None = None, beside: Path | None = None) -> Iterator[BinaryIO]:
    """An empty file that replaces `path` when the block ends and is removed when it fails; `path`'s folder must exist.

    mode: permission bits; the process' usual ones when left out. beside: a path of the same file system, next to which
    the hidden file is kept instead of in `path`'s own folder. Raises OSError, with the old content intact; also for a
    pipe, a socket or a device, which stays what it is.
    """
    if os.path.lexists(path) and stat.S_IFMT(path.lstat().st_mode) not in (stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    place = beside or path
    aside = place.with_name(f".{place.name[:50]}.{os.urandom(6).hex()}.part")
    try:
        with aside.open("xb") as out:
            if mode is not None:
                os.fchmod(out.fileno(), mode)
            yield out
        aside.replace(path)
    except BaseException:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, data: bytes | str, *, mode: int | None = None) -> None:
    """Replaces `path`; as `opened_atomically`."""
    with opened_atomically(path, mode=mode) as out:
        out.write(data.encode() if isinstance(data, str) else data)


def rewrite(path: Path, data: bytes | str) -> None:
    """`write_atomically` for a file of the user's: a link stays a link, and permissions stay. Raises OSError, also for
    a link as `within_repository` does, and for what is not a regular file."""
    target = within_repository(path)
    seen = target.lstat()
    if not stat.S_ISREG(seen.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    write_atomically(target, data, mode=stat.S_IMODE(seen.st_mode))


def is_file(path: Path | str) -> bool:
    """Never raises, unlike `Path.is_file`: a name may be too long, and a folder closed to this user."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: Path | str) -> bool:
    """Never raises."""
    return os.path.isdir(path)  # noqa: PTH112


def is_link(path: Path | str) -> bool:
    """Never raises."""
    return os.path.islink(path)  # noqa: PTH114


def why_closed(folder: Path) -> str | None:
    """Why this user can't write into the folder, or can't make it where it is missing; `None` when that can be done."""
    path = folder.absolute()
    there = next(place for place in (path, *path.parents) if os.path.lexists(place))
    if not is_folder(there):
        return f"{there} is not a folder"
    return None if os.access(there, os.W_OK | os.X_OK) else f"{there} can't be written to"


def make_folder(path: Path, mode: int = 0o777) -> None:
    """With its parents, and without the recursion of `Path.mkdir`: there may be a thousand. mode: of those that are
    made, less the umask. Raises OSError."""
    try:
        path.mkdir(mode, exist_ok=True)
    except FileNotFoundError:
        for folder in (*reversed(path.parents), path):
            folder.mkdir(mode, exist_ok=True)


def upwards(near: Iterable[Path | str]) -> Iterator[Path]:
    """Each folder and its parents, nearest first."""
    for folder in near:
        here = Path(folder).absolute()
        yield from (here, *here.parents)


def offered_near(near: Iterable[Path | str], folder: Path) -> Iterator[Path]:
    """What the projects upwards of these folders offer in a folder of theirs, the nearest first; MAX_OFFERS at most."""
    found = (path for project in dict.fromkeys(upwards(near)) for path in offered_in(project, folder))
    return islice(found, MAX_OFFERS)
