"""Gateway: content-addressed, compressed bytes in a folder. A blob is written once, whole, and never again."""

import hashlib
import os
import re
import threading
from pathlib import Path
from typing import Final

import zstandard

from runbook_runner.errors import InputError, RecordingError

MAX_BLOB_BYTES: Final = 256 << 20  # a damaged or hostile file must not unpack to more
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class BlobFolder:
    """`ab/<sha256>.zst`, named by the digest of the uncompressed bytes."""

    def __init__(self, folder: Path):
        self._folder = folder

    def put(self, data: bytes) -> str:
        """The digest of the data, which is now on disk. Raises RecordingError."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        if not path.exists():
            try:
                _write_aside(path, zstandard.compress(data))
            except OSError as problem:
                raise RecordingError(f"Can't record a model call: {problem.strerror}.", where=str(path)) from problem
        return digest

    def get(self, digest: str) -> bytes:
        """Raises InputError when the blob is missing or damaged."""
        if not _DIGEST.fullmatch(digest):
            raise InputError(f"{digest[:80]!r} is not the name of a blob.", where=str(self._folder))
        path = self._path(digest)
        try:
            packed = path.read_bytes()
            if zstandard.frame_content_size(packed) > MAX_BLOB_BYTES:
                raise InputError("This blob unpacks to too much.", where=str(path))
            data = zstandard.decompress(packed, max_output_size=MAX_BLOB_BYTES)
        except FileNotFoundError:
            raise InputError("A part of this recording is missing.", where=str(path)) from None
        except (zstandard.ZstdError, OSError) as problem:
            raise InputError(f"A part of this recording can't be read: {problem}.", where=str(path)) from problem
        if hashlib.sha256(data).hexdigest() != digest:
            raise InputError("A part of this recording was changed.", where=str(path))
        return data

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / f"{digest}.zst"


def _write_aside(path: Path, data: bytes) -> None:
    """Whole or not at all. The name is this thread's alone; what a crash left under it is overwritten."""
    part = path.with_name(f".{os.getpid()}-{threading.get_ident()}.part")
    try:
        _write(part, data)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except FileNotFoundError:  # the first blob of its folder
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
