"""Runner: zips of others, among a run's inputs or to be imported: their files, or an error when any of them could do
harm."""

import io
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

from runbook_runner.core.errors import InputError
from runbook_runner.core.settings import UNPACKED_BYTES, UNPACKED_FILES
from runbook_runner.core.text import counted
from runbook_runner.sandbox.base import Readable

_UTF8 = 0x800
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""For others `zipfile` has no bound: of bzip2 and LZMA, 4 kB may become 4 GB in memory, whatever size the zip says."""
_MEMBER = b"PK\x01\x02"
"""How each entry of the list of all members begins."""
_MOST_DIRECTORY = 32 << 20
"""Bytes of the list of all members, which `zipfile` reads whole."""
_MAX_RATIO = 200  # real files rarely compress better than 50 to 1; a bomb compresses a thousand to 1
_HARMLESS_BYTES = 64 << 20  # up to here any ratio is allowed
_MAX_NAME = 255
_MAX_PATH = 1024
_BROKEN: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)


class Bounds(NamedTuple):
    """What a zip may hold."""

    files: int
    """And entries of folders."""
    unpacked_bytes: int
    hint: str
    """What to do about one that holds more."""


INPUTS: Final = Bounds(UNPACKED_FILES, UNPACKED_BYTES, "Unpack it and give the files that the agent needs.")


@dataclass(frozen=True)
class Member:
    """A file in an open zip. Implements `sandbox.Source`."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo
    path: str
    """Below `/app/assets`."""

    def __str__(self) -> str:
        return f"{self.path} in {self.archive.filename}"

    @property
    def size(self) -> int:
        return self.info.file_size

    @property
    def mode(self) -> int:
        """That of every input, but a program stays executable."""
        return 0o777 if (self.info.external_attr >> 16) & 0o111 else 0o666

    @contextmanager
    def open(self, mode: Literal["rb"] = "rb", /) -> Iterator[Readable]:
        with _readable(str(self.archive.filename), self.path):
            content = self.archive.open(self.info)
        with content:
            yield _Checked(content, self)

    def content(self) -> bytes:
        with self.open() as readable:
            return readable.read(self.size)


@dataclass(frozen=True)
class _Checked:
    """Turns errors while the content is read into an InputError that names the zip."""

    content: Readable
    member: Member

    def read(self, size: int, /) -> bytes:
        with _readable(str(self.member.archive.filename), self.member.path):
            return self.content.read(size)


class _File(io.FileIO):
    """A zip whose list of members is not parsed when it has more than `bounds.files`: `zipfile` makes an object of each
    that takes ten times the bytes it has in the list."""

    def __init__(self, path: Path, bounds: Bounds):
        super().__init__(path)
        self._path, self._bounds = path, bounds
        self.is_listed = False
        """The list was read; what is read from here on are members."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MOST_DIRECTORY:
            raise zipfile.BadZipFile("its list of files is too long")
        data = super().read(size) or b""
        if not self.is_listed and (members := data.count(_MEMBER)) > self._bounds.files:
            raise _too_large(self._path, self._bounds, _too_many(members, self._bounds))
        return data


@contextmanager
def opened(path: Path, bounds: Bounds = INPUTS) -> Iterator[tuple[Member, ...]]:
    """The files in a zip, without its folders; each path is below the folder it will be unpacked in. Raises InputError
    for a zip that is broken, encrypted or larger than the bounds, and for a member that leads out of the folder or is
    not a regular file."""
    with _readable(str(path)):
        file = _File(path, bounds)
    with file:
        with _readable(str(path)):
            _require_end(path, file)
            archive = zipfile.ZipFile(file)
            file.is_listed = True
        with archive:
            infos = archive.infolist()
            _check_size(path, infos, bounds)
            yield tuple(_member(archive, info) for info in infos if not info.is_dir())


def is_zip_content(head: bytes) -> bool:
    """Whether a file that begins so is a zip, be it a broken one. `zipfile` also takes one that stands behind other
    content."""
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def _require_end(path: Path, file: _File) -> None:
    """Raises InputError for what begins as a zip, and does not end as one: all of it is listed at its end."""
    if is_zip_content(file.read(4)) and not zipfile.is_zipfile(file):
        hint = "Copy or download it again, and compare its size with that of the original."
        raise InputError("This zip is incomplete: its end is missing.", where=str(path), hint=hint)
    file.seek(0)


def is_suspicious(unpacked: int, packed: int) -> bool:
    """Whether a zip of `packed` bytes holds more than real files do."""
    return unpacked > _HARMLESS_BYTES and unpacked > _MAX_RATIO * packed


@contextmanager
def _readable(where: str, member: str = "") -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError("A name in this zip is not UTF-8, although it is marked so.", where=where) from error
    except InputError:
        raise
    except _BROKEN as error:
        what = f"{_shown(member)} in this zip" if member else "This zip"
        raise InputError(f"{what} can't be read: {str(error).rstrip('.')}.", where=where) from error


def _check_size(path: Path, infos: list[zipfile.ZipInfo], bounds: Bounds) -> None:
    total, size = sum(info.file_size for info in infos), path.stat().st_size
    if len(infos) > bounds.files:
        problem = _too_many(len(infos), bounds)
    elif total > bounds.unpacked_bytes:
        problem = f"unpacks to {total >> 20} MB; {bounds.unpacked_bytes >> 20} MB is the limit"
    elif is_suspicious(total, size):
        problem = f"unpacks to {total // size} times its size, which real files never do"
    else:
        return
    raise _too_large(path, bounds, problem)


def _too_many(members: int, bounds: Bounds) -> str:
    return f"holds {counted(members, 'file')} and folders; {bounds.files:,} is the limit"


def _too_large(path: Path, bounds: Bounds, problem: str) -> InputError:
    return InputError(f"This zip {problem}.", where=str(path), hint=bounds.hint)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    name = _name(info)
    problem = _problem(info, name)
    if problem:
        raise InputError(f"{_shown(name)} in this zip {problem}.", where=str(archive.filename))
    return Member(archive, info, "/".join(_parts(name)))


def _name(info: zipfile.ZipInfo) -> str:
    """The member's path. Many programs write UTF-8 without marking it; some on Windows separate with a backslash."""
    name = info.orig_filename
    if not info.flag_bits & _UTF8:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]


def _problem(info: zipfile.ZipInfo, name: str) -> str | None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    parts = _parts(name)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device, not a regular file"
    if name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        return "has an absolute path"
    if ".." in parts or not parts:
        return "leads out of the folder it is unpacked in"
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        return "has a control character in its name"
    if len(name.encode()) > _MAX_PATH or any(len(part.encode()) > _MAX_NAME for part in parts):
        return "has a name that is too long"
    if info.flag_bits & _ENCRYPTED:
        return "is encrypted; unpack it yourself and give the files that the agent needs"
    if info.compress_type not in _METHODS:
        return f"is packed by method {info.compress_type}, and only deflate (method 8) is supported; pack it anew"
    return None


def _shown(name: str) -> str:
    return repr(name if len(name) <= _MAX_NAME else name[:_MAX_NAME] + "…")
