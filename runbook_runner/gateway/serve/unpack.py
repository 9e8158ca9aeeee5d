"""Gateway: unpacks request bodies, as large as one that is not packed may be."""

import io
import zlib
from collections.abc import Callable
from typing import Final

import zstandard

_GZIP_WINDOW: Final = 31  # of zlib's: gzip's header, the largest window


def unpack(encoding: str, body: bytes, limit: int) -> bytes:
    """Returns the body, or its first `limit` + 1 bytes when it is larger. encoding: one of `ENCODINGS`. Raises
    ValueError for a body that is not packed so."""
    return _UNPACKERS[encoding](body, limit + 1)


def _gzip(body: bytes, most: int) -> bytes:
    member = zlib.decompressobj(_GZIP_WINDOW)
    try:
        unpacked = member.decompress(body, most)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(unpacked) < most and (not member.eof or member.unused_data):
        raise ValueError("it does not end where the body does")
    return unpacked


def _zstd(body: bytes, most: int) -> bytes:
    reader = zstandard.ZstdDecompressor(max_window_size=most).stream_reader(io.BytesIO(body), read_across_frames=True)
    try:
        return reader.read(most)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


_UNPACKERS: Final[dict[str, Callable[[bytes, int], bytes]]] = {"gzip": _gzip, "x-gzip": _gzip, "zstd": _zstd}
ENCODINGS: Final = frozenset(_UNPACKERS)
