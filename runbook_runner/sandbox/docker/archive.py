"""Docker sandbox: tar streams into and out of a container, never whole in memory."""

import os
import posixpath
import tarfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.errors import InputError, SandboxError
from runbook_runner.sandbox.base import PutFile, Readable, Source
from runbook_runner.sandbox.extract import Extraction, FullError
from runbook_runner.sandbox.paths import check_writable

_BLOCK = 1 << 18
_MOST_FIELDS = 1 << 20  # bytes of a header
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)
_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}


class TornArchiveError(SandboxError):
    """The archive ends in the middle."""


def pack(files: Iterable[PutFile], folders: Sequence[str] = ()) -> Iterator[bytes]:
    """Yields a tar stream, relative to `/`, of the folders (made or set to mode 0777) and the files with their parents.
    Raises InputError."""
    made: set[str] = set()
    for folder in folders:
        made.add(folder)
        yield _header(folder, kind=tarfile.DIRTYPE, mode=0o777)
    for file in files:
        for parent in _parents(check_writable(file.path)):
            if parent not in made:
                made.add(parent)
                yield _header(parent, kind=tarfile.DIRTYPE, mode=0o777)
        yield from _file(file)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _parents(path: str) -> list[str]:
    """Returns the parents below the first level: `start` makes `/app`, the image has `/etc`."""
    parts = path.split("/")[1:-1]
    return ["/" + "/".join(parts[:depth]) for depth in range(2, len(parts) + 1)]


def _header(path: str, *, kind: bytes = tarfile.REGTYPE, mode: int, size: int = 0) -> bytes:
    info = tarfile.TarInfo(path.lstrip("/"))
    info.type, info.mode, info.size, info.mtime = kind, mode, size, int(time.time())
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _file(file: PutFile) -> Iterator[bytes]:
    if isinstance(file.source, bytes):
        yield _header(file.path, mode=file.mode, size=len(file.source))
        yield file.source
        yield _padding(len(file.source))
        return
    source = file.source
    try:
        size = source.stat().st_size if isinstance(source, Path) else source.size
        with open_regular(source) if isinstance(source, Path) else source.open("rb") as content:
            yield _header(file.path, mode=file.mode, size=size)
            yield from _blocks(content, size, source)
    except OSError as error:
        raise InputError(f"Can't read {source}: {error.strerror}.") from error
    yield _padding(size)


def _blocks(content: Readable, size: int, source: Path | Source) -> Iterator[bytes]:
    """Yields exactly as many bytes as the header says, even if the file grows meanwhile."""
    while size:
        block = content.read(min(_BLOCK, size))
        if not block:
            raise InputError(f"{source} became shorter while it was read.")
        size -= len(block)
        yield block


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


def unpack(chunks: Iterable[bytes], extraction: Extraction, sandbox_path: str) -> None:
    """Hands every member of an engine's archive of `sandbox_path` to the extraction. The engine names members after the
    path's last part: `results/a.txt`. Raises TornArchiveError, and what the extraction raises but FullError."""
    pipe = _Pipe(chunks)
    try:
        for member in _members(pipe):
            content = _Content(pipe, member.size)
            _take(member, content, extraction, sandbox_path)
            content.skip()
    except FullError:
        return
    except tarfile.TarError as error:
        raise TornArchiveError(f"The engine's archive of {sandbox_path} can't be read: {error}.") from error


def _members(pipe: "_Pipe") -> Iterator[tarfile.TarInfo]:
    """Yields each member; its content is next in the pipe. Raises TarError.

    Not by `tarfile.open`: before Python 3.11.10 and 3.12.6 it searches the names in a header, which are the sandbox's,
    for a character set: in quadratic time, and what it finds may be no text.
    """
    fields: dict[bytes, bytes] = {}
    while any(block := pipe.exactly(tarfile.BLOCKSIZE)):
        member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if member.type == tarfile.XHDTYPE:
            fields = _fields(pipe, member.size)
            continue
        try:
            member.name = os.fsdecode(fields.get(b"path", os.fsencode(member.name)))
            member.linkname = os.fsdecode(fields.get(b"linkpath", os.fsencode(member.linkname)))
            member.size = int(fields.get(b"size", member.size)) if member.type in _FILES else 0
            member.mtime = float(fields.get(b"mtime", member.mtime))
        except ValueError as error:
            raise tarfile.ReadError("a header with a wrong number") from error
        fields = {}
        yield member


def _fields(pipe: "_Pipe", size: int) -> dict[bytes, bytes]:
    """Of a header of POSIX.1-2001 ("pax"): lines of length, name and value."""
    if size > _MOST_FIELDS:
        raise tarfile.ReadError("a header that is too long")
    lines, fields, at = pipe.exactly(size), dict[bytes, bytes](), 0
    pipe.exactly(-size % tarfile.BLOCKSIZE)
    while at < size:
        length, _, _ = lines[at : at + len(str(_MOST_FIELDS)) + 1].partition(b" ")
        if not length.isdigit() or not len(length) < int(length) <= size - at:
            raise tarfile.ReadError("a header with a wrong length")
        name, _, value = lines[at + len(length) + 1 : at + int(length) - 1].partition(b"=")
        fields[name] = value
        at += int(length)
    return fields


def _take(member: tarfile.TarInfo, content: "_Content", extraction: Extraction, sandbox_path: str) -> None:
    parts = _parts(member.name)
    if member.isdir():
        if parts:
            extraction.folder(parts)
    elif member.type in _FILES:
        alone = "/" not in member.name
        extraction.file(
            parts or [member.name],
            content,
            (member.size, member.mtime),
            executable=bool(member.mode & 0o111),
            sandbox_path=sandbox_path if alone else None,
        )
    elif member.islnk():
        extraction.second_name(parts, _parts(member.linkname))
    else:
        extraction.skip(parts or [posixpath.basename(sandbox_path)], _KINDS.get(member.type, "not a regular file"))


def _parts(name: str) -> list[str]:
    """Returns the parts below the fetched path. An absolute name, which no engine writes, keeps an empty part, for
    which it is refused."""
    parts = name.rstrip("/").split("/")
    return parts if name.startswith("/") else parts[1:]


class _Pipe:
    """Chunks of any size as a file."""

    def __init__(self, chunks: Iterable[bytes]):
        self._chunks = iter(chunks)
        self._chunk = b""
        self._at = 0

    def read(self, size: int) -> bytes:
        parts, missing = [], size
        while missing > 0:
            if self._at == len(self._chunk):
                self._chunk, self._at = next(self._chunks, b""), 0
                if not self._chunk:
                    break
            parts.append(self._chunk[self._at : self._at + missing])
            self._at += len(parts[-1])
            missing -= len(parts[-1])
        return b"".join(parts)

    def exactly(self, size: int) -> bytes:
        data = self.read(size)
        if len(data) < size:
            raise tarfile.ReadError("it ends too early")
        return data


class _Content:
    """Of one member."""

    def __init__(self, pipe: _Pipe, size: int):
        self._pipe = pipe
        self._left = size
        self._padding = -size % tarfile.BLOCKSIZE

    def read(self, size: int, /) -> bytes:
        block = self._pipe.exactly(min(size, self._left))
        self._left -= len(block)
        return block

    def skip(self) -> None:
        """What of it was not read."""
        while self.read(_BLOCK):
            pass
        self._pipe.exactly(self._padding)
