"""Gateway: a folder of compressed blobs, each named by the digest of its content and never changed once written."""

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import zstandard

from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.disk.private import FILE, FOLDER, private_opener
from runbook_runner.core.errors import InputError, RecordingError
from runbook_runner.core.files import make_folder, write_atomically

MAX_BLOB_BYTES: Final = 256 << 20  # a damaged or hostile file must not unpack to more
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def blob_path(folder: Path, digest: str) -> Path:
    return folder / digest[:2] / f"{digest}.zst"


class BlobFolder:
    """`ab/<sha256>.zst`, named by the digest of the uncompressed bytes."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.written = 0
        """Bytes on disk that were added by this object."""
        self.unpacked = 0
        """Bytes that `get` has returned so far."""

    def prepare(self) -> None:
        """Raises OSError when the folder can't be written to."""
        if not os.access(self.folder, os.W_OK):
            make_folder(self.folder, FOLDER)

    def put(self, data: bytes) -> str:
        """Stores the data and returns its digest. Raises RecordingError."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        if not path.exists():
            packed = zstandard.compress(data)
            self.written += len(packed)
            try:
                _write(path, packed)
            except OSError as error:
                raise _unwritable(path, error) from error
        return digest

    def writer(self) -> "BlobWriter":
        """Returns a writer for bytes that come one after the other."""
        return BlobWriter(self.folder, self._count)

    def _count(self, size: int) -> None:
        self.written += size

    def get(self, digest: str) -> bytes:
        """Raises InputError when the blob is missing or damaged."""
        path = self._known(digest)
        data = b"".join(_unpacked(path))
        _verify(path, digest, hashlib.sha256(data))
        self.unpacked += len(data)
        return data

    def pieces(self, digest: str) -> Iterator[bytes]:
        """As `get`, in bounded memory: the blob is read twice, so that damage is found before the first piece."""
        path = self._known(digest)
        read = hashlib.sha256()
        for piece in _unpacked(path):
            read.update(piece)
        _verify(path, digest, read)
        return _unpacked(path)

    def _known(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise InputError(f"{digest[:80]!r} is not the name of a blob.", where=str(self.folder))
        return self._path(digest)

    def _path(self, digest: str) -> Path:
        return blob_path(self.folder, digest)


class BlobWriter:
    """One blob that is written as it comes. Its name is known only at the end, so until then it is a `.part` file."""

    def __init__(self, folder: Path, count: Callable[[int], None]):
        """count: gets the bytes of each piece that is written."""
        self._folder = folder
        self._count = count
        self._part = folder / f".{secrets.token_hex(8)}.part"
        self._digest = hashlib.sha256()
        self._packer = zstandard.ZstdCompressor().compressobj()
        self._file: BinaryIO | None = None

    def write(self, data: bytes) -> None:
        """Raises RecordingError."""
        self._digest.update(data)
        self._append(self._packer.compress(data))

    def close(self) -> str:
        """Makes a blob of what was written and returns its digest. Raises RecordingError."""
        self._append(self._packer.flush())
        digest = self._digest.hexdigest()
        path = blob_path(self._folder, digest)
        try:
            self._opened().close()
            make_folder(path.parent, FOLDER)
            self._part.replace(path)
        except OSError as error:
            raise _unwritable(path, error) from error
        return digest

    def discard(self) -> None:
        """Removes what was written, unless it was closed."""
        if self._file is not None:
            self._file.close()
            self._part.unlink(missing_ok=True)

    def _append(self, packed: bytes) -> None:
        self._count(len(packed))
        try:
            self._opened().write(packed)
        except OSError as error:
            raise _unwritable(self._part, error) from error

    def _opened(self) -> BinaryIO:
        if self._file is None:
            make_folder(self._folder, FOLDER)
            self._file = open(self._part, "xb", opener=private_opener)  # noqa: SIM115 - closed by `close`
        return self._file


def _unpacked(path: Path) -> Iterator[bytes]:
    try:
        with open_regular(path) as file:
            yield from _bounded(zstandard.ZstdDecompressor().read_to_iter(file), path)
    except FileNotFoundError:
        raise InputError("A part of this recording is missing.", where=str(path)) from None
    except (zstandard.ZstdError, OSError) as error:
        raise InputError(f"A part of this recording can't be read: {error}.", where=str(path)) from error


def _verify(path: Path, digest: str, read: "hashlib._Hash") -> None:
    if read.hexdigest() != digest:
        raise InputError("A part of this recording was changed.", where=str(path))


def _bounded(pieces: Iterable[bytes], path: Path) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_BLOB_BYTES:
            raise InputError(f"This blob unpacks to more than {MAX_BLOB_BYTES >> 20} MB.", where=str(path))
        yield piece


def _unwritable(path: Path, error: OSError) -> RecordingError:
    return RecordingError(f"Can't record a model call: {error.strerror}.", where=str(path))


def _write(path: Path, data: bytes) -> None:
    try:
        write_atomically(path, data, mode=FILE)
    except FileNotFoundError:  # the first blob of its folder
        make_folder(path.parent, FOLDER)
        write_atomically(path, data, mode=FILE)
