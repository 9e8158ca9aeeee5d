"""Gateway: stores JSON documents so that large parts, which many of them share, are stored once.

Every request repeats the whole conversation, the tools and the system prompt. So each element of a top-level list, and
each other top-level value, of more than 512 bytes is stored once and replaced by `{"$blob": "<sha256>"}`.
"""

import hashlib
import json
import marshal
from collections.abc import Callable
from typing import Any, Final

from runbook_runner.core.errors import InputError
from runbook_runner.core.formats.json_toml import bounded
from runbook_runner.gateway.cassette.blobs import MAX_BLOB_BYTES, BlobFolder, blob_path
from runbook_runner.gateway.large import pieces

INLINE_BYTES: Final = 512
# Beside its bytes, each value of a document that is read counts so much, and each part of it: what is a line of some
# kilobytes on disk may be a gigabyte in memory, and the work of minutes.
_VALUE_BYTES: Final = 32
_PART_BYTES: Final = 256
_TIMES_QUICKER: Final = 16  # is the work on a part that an earlier document has named
_REF: Final = "$blob"
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))


class DocumentStore:
    """Writes and reads documents in a blob folder. clean: removes the secrets from a JSON value. It must not see a
    digest, which may contain a short secret by chance."""

    def __init__(self, blobs: BlobFolder, clean: Callable[[Any], Any]):
        self._blobs = blobs
        self._clean = clean
        self._seen: dict[bytes, str] = {}
        """Digest of a part before cleaning → its blob, so that each is cleaned and stored once."""
        self._without_secrets: set[bytes] = set()
        """Digests of small parts that contain no secrets."""
        self._parts: dict[str, tuple[Any, int]] = {}
        """Blob → the part that was read from it, and its size: the requests of one cassette share most of them."""
        self.counted = 0
        """What documents that were read count beside their bytes."""

    def put(self, document: Any) -> str:
        """Stores a document. Returns its digest. Raises RecordingError."""
        if not isinstance(document, dict):
            return self._put(self._clean(document))
        return self._put({self._clean(key): self._with_references(value) for key, value in document.items()})

    def get(self, digest: str) -> Any:
        """Returns a document. Its parts may be shared with other documents: don't change them. Raises InputError, also
        for one of more than MAX_BLOB_BYTES with all its parts."""
        document, size = self._read(digest)
        if not isinstance(document, dict):
            return document
        places = [part for value in document.values() for part in (value if isinstance(value, list) else [value])]
        self.counted += len(places) * _PART_BYTES
        for part in (place for place in places if _is_ref(place)):
            named = self._named(part)[1]
            size += named
            self.counted += named // _TIMES_QUICKER
            self._require_bounded(size, digest)
        return {key: self._resolved(value) for key, value in document.items()}

    def _with_references(self, value: Any) -> Any:
        return [self._part(item) for item in value] if isinstance(value, list) else self._part(value)

    def _part(self, value: Any) -> Any:
        raw = quick_bytes(value)
        seen = hashlib.sha256(raw).digest()
        if len(raw) <= INLINE_BYTES and not _is_ref(value):
            return value if seen in self._without_secrets else self._small(value, seen)
        if seen not in self._seen:
            self._seen[seen] = self._put(self._clean(value))
        return {_REF: self._seen[seen]}

    def _small(self, value: Any, seen: bytes) -> Any:
        cleaned = self._clean(value)
        if cleaned == value:
            self._without_secrets.add(seen)
        return cleaned

    def _put(self, value: Any) -> str:
        return self._blobs.put(compact(value).encode())

    def _resolved(self, value: Any) -> Any:
        return [self._resolved_part(item) for item in value] if isinstance(value, list) else self._resolved_part(value)

    def _resolved_part(self, value: Any) -> Any:
        return self._named(value)[0] if _is_ref(value) else value

    def _named(self, reference: Any) -> tuple[Any, int]:
        digest = str(reference[_REF])
        if digest not in self._parts:
            self._parts[digest] = self._read(digest)
        return self._parts[digest]

    def _read(self, digest: str) -> tuple[Any, int]:
        """Returns a value and its size."""
        data = self._blobs.get(digest)
        values = pieces(data) * _VALUE_BYTES
        self.counted += values
        self._require_bounded(len(data) + values, digest)
        return bounded(json.loads(data), f"blob {digest}"), len(data) + values

    def _require_bounded(self, size: int, digest: str) -> None:
        if size > MAX_BLOB_BYTES:
            message = f"This part of a recording takes more than {MAX_BLOB_BYTES >> 20} MB."
            raise InputError(message, where=str(blob_path(self._blobs.folder, digest)))


def compact(value: Any) -> str:
    """ASCII only, so that the lone surrogates JSON allows survive; keys stay in the order they came in."""
    return _ENCODER.encode(value)


def quick_bytes(value: Any) -> bytes:
    """Returns equal bytes for equal values, in this process only. It takes a tenth of the time of `compact`, and every
    call repeats the whole conversation. Version 2 of the format is the last without references."""
    try:
        return marshal.dumps(value, 2)
    except ValueError:  # marshal's error for it
        raise RecursionError("nested too deeply") from None


def _is_ref(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {_REF}
