"""Gateway: JSON documents as skeletons whose large, often repeated parts are blobs of their own.

Every request repeats the whole conversation, the tools and the system prompt. So each element of a top-level list, and
each other top-level value, of more than 512 bytes is stored once and replaced by `{"$blob": "<sha256>"}`.
"""

import hashlib
import json
import marshal
from collections.abc import Callable
from typing import Any, Final

from runbook_runner.gateway.cassette.blobs import BlobFolder

INLINE_BYTES: Final = 512
_REF: Final = "$blob"
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))


class DocumentStore:
    """Writes and reads documents in a blob folder. clean: a JSON value without its secrets. It must not see a
    digest: a short secret may well be a part of one."""

    def __init__(self, blobs: BlobFolder, clean: Callable[[Any], Any]):
        self._blobs = blobs
        self._clean = clean
        self._seen: dict[bytes, str] = {}
        """Digest of a part as it came → its blob: what was cleaned and stored once needs neither again."""
        self._harmless: set[bytes] = set()
        """Digests of small parts without secrets."""
        self._parts: dict[str, Any] = {}
        """Blob → the part that was read from it: the requests of one recording share most of theirs."""

    def put(self, document: Any) -> str:
        """The digest of the document's skeleton. Raises RecordingError."""
        if not isinstance(document, dict):
            return self._put(self._clean(document))
        return self._put({self._clean(key): self._outline(value) for key, value in document.items()})

    def get(self, digest: str) -> Any:
        """The document; its parts may be shared with others, so leave them as they are. Raises InputError."""
        document = json.loads(self._blobs.get(digest))
        if not isinstance(document, dict):
            return document
        return {key: self._filled(value) for key, value in document.items()}

    def _outline(self, value: Any) -> Any:
        return [self._part(item) for item in value] if isinstance(value, list) else self._part(value)

    def _part(self, value: Any) -> Any:
        raw = _bytes(value)
        seen = hashlib.sha256(raw).digest()
        if len(raw) <= INLINE_BYTES and not _is_ref(value):
            return value if seen in self._harmless else self._small(value, seen)
        if seen not in self._seen:
            self._seen[seen] = self._put(self._clean(value))
        return {_REF: self._seen[seen]}

    def _small(self, value: Any, seen: bytes) -> Any:
        cleaned = self._clean(value)
        if cleaned == value:
            self._harmless.add(seen)
        return cleaned

    def _put(self, value: Any) -> str:
        return self._blobs.put(compact(value).encode())

    def _filled(self, value: Any) -> Any:
        return [self._whole(item) for item in value] if isinstance(value, list) else self._whole(value)

    def _whole(self, value: Any) -> Any:
        if not _is_ref(value):
            return value
        digest = str(value[_REF])
        if digest not in self._parts:
            self._parts[digest] = json.loads(self._blobs.get(digest))
        return self._parts[digest]


def compact(value: Any) -> str:
    """ASCII only, so that the lone surrogates JSON allows survive; keys stay in the order they came in."""
    return _ENCODER.encode(value)


def _bytes(value: Any) -> bytes:
    """The same for the same value, in this process only. Every call repeats the whole conversation, and most of it has
    been seen: this takes a tenth of the time that writing JSON does. Version 2 is the last that knows no references."""
    try:
        return marshal.dumps(value, 2)
    except ValueError:  # its own word for the same
        raise RecursionError("nested too deeply") from None


def _is_ref(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {_REF}
