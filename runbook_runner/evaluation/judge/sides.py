"""Evaluation, judge: how large a picture is, read off its first bytes; it is not decoded."""

from typing import Final

_MOST_SEGMENTS: Final = 1000
_NO_FRAME: Final = (0xC4, 0xC8, 0xCC)
"""JPEG's markers among those of frames that begin none."""


def sides_of(data: bytes, kind: str) -> tuple[int, int]:
    """Width and height in pixels; 0 where they can't be told."""
    if kind == "image/png":
        return _big(data[16:20]), _big(data[20:24])
    if kind == "image/gif":
        return _little(data[6:8]), _little(data[8:10])
    return _of_webp(data) if kind == "image/webp" else _of_jpeg(data)


def _of_webp(data: bytes) -> tuple[int, int]:
    """https://developers.google.com/speed/webp/docs/riff_container"""
    form = data[12:16]
    if form == b"VP8X":
        return _little(data[24:27]) + 1, _little(data[27:30]) + 1
    if form == b"VP8L":
        bits = _little(data[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return _little(data[26:28]) & 0x3FFF, _little(data[28:30]) & 0x3FFF


def _of_jpeg(data: bytes) -> tuple[int, int]:
    """Of the first frame (ITU T.81, B.2.2)."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        if data[at : at + 1] != b"\xff" or at + 9 > len(data):
            break
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            return _big(data[at + 7 : at + 9]), _big(data[at + 5 : at + 7])
        at += 1 if marker == 0xFF else 2 + _big(data[at + 2 : at + 4])
    return 0, 0


def _big(number: bytes) -> int:
    return int.from_bytes(number, "big")


def _little(number: bytes) -> int:
    return int.from_bytes(number, "little")
