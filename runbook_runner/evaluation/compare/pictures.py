"""Evaluation, compare: the build of image files. Readers differ in what they take from a file that says something
twice, late or where it does not belong: a file is compared where all of them show the same picture."""

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from runbook_runner.core.disk.links import open_regular
from runbook_runner.evaluation.compare.rule import UnreadableError

_BY_SUFFIX: Final = {
    ".png": "PNG",
    **dict.fromkeys((".jpg", ".jpeg"), "JPEG"),
    ".gif": "GIF",
    ".webp": "WEBP",
    ".bmp": "BMP",
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
}
_COLOURS: Final = (b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"mDCV", b"cLLI")
"""Chunks of a PNG file that change the colours of its pixels (https://www.w3.org/TR/png-3/, 11.3.2)."""
_CRITICAL: Final = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_FIRST: Final = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"acTL", b"sBIT", *_COLOURS)
"""Chunks that stand before the pixels."""
_ONCE: Final = (*_FIRST, b"bKGD", b"hIST", b"pHYs", b"tIME", b"IEND")
_MOST_OF_A_CHUNK: Final = 1 << 16
"""Bytes of a chunk that are looked at; no EXIF data of a JPEG file are longer."""
_MOST_OF_A_PROFILE: Final = 1 << 20
_ORIENTATION: Final = 0x0112
_EXIF: Final = b"Exif\0\0"
_WEBP_FLAGS: Final = ((b"ICCP", 0x20), (b"EXIF", 0x08), (b"ANIM", 0x02))


def require_one_reading(path: Path, kind: str) -> Mapping[bytes, bytes]:
    """Raises UnreadableError. kind: what Pillow takes it for. Returns what a PNG file says of its colours."""
    kind = "JPEG" if kind == "MPO" else kind
    named = _BY_SUFFIX.get(path.suffix.lower(), kind)
    if named != kind:
        raise UnreadableError(f"it is a {kind} file, and its name says {named}")
    with open_regular(path) as file:
        try:
            return _CHECKS[kind](file) or {}
        except (struct.error, IndexError) as error:
            raise UnreadableError("it is cut off, or its build is not plain") from error


def _require(plain: bool, otherwise: str) -> None:
    if not plain:
        raise UnreadableError(otherwise)


def _png(file: BinaryIO) -> Mapping[bytes, bytes]:
    found = dict[bytes, bytes]()
    previous, frames = b"", 0
    for kind, data in _png_chunks(file):
        name = kind.decode("ascii", "replace")
        _require(bool(found) or kind == b"IHDR", "it does not begin with an IHDR chunk")
        _require(kind in _CRITICAL or kind[0] & 0x20 != 0, f"it has a {name} chunk, which not all readers know")
        _require(not (kind in found and kind in _ONCE), f"it has more than one {name} chunk")
        _require(not (kind in _FIRST and b"IDAT" in found), f"its {name} chunk stands behind its pixels")
        _require(kind != b"PLTE" or b"tRNS" not in found, "its tRNS chunk stands before its palette")
        _require(kind != b"IDAT" or b"IDAT" not in found or previous == kind, "its pixels are not in one piece")
        _require(kind not in (b"fcTL", b"fdAT") or b"acTL" in found, "it has frames, and no acTL chunk before them")
        _require(not (previous == b"fcTL" and b"IDAT" in found and kind != b"fdAT"), "a frame of it has no pixels")
        if kind == b"fcTL" and b"IDAT" not in found:
            whole = frames == 0 and data[4:20] == found[b"IHDR"][:8] + bytes(8)
            _require(whole, "its first frame does not cover the whole picture")
        frames += kind == b"fcTL"
        found[kind] = data
        previous = kind
    animated = struct.unpack(">I", found[b"acTL"][:4])[0] if b"acTL" in found else 0
    _require(animated == frames, "it says two things of how many frames it has")
    _require(b"acTL" not in found or frames > 0, "it has an animation without frames")
    _require_plain_pixels(found)
    if b"tRNS" in found:
        _require_plain_transparency(found)
    if b"eXIf" in found:
        _require_one_orientation(found[b"eXIf"])
    if b"iCCP" in found:
        _require_whole_profile(found[b"iCCP"])
    return {kind: found[kind] for kind in _COLOURS if kind in found}


def _png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """The kind and the beginning of each, to the last one that is whole."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        kind, end = head[4:], file.tell() + int.from_bytes(head[:4], "big") + 4
        most = _MOST_OF_A_PROFILE if kind == b"iCCP" else _MOST_OF_A_CHUNK if kind in (*_ONCE, b"fcTL") else 0
        yield kind, file.read(min(end - 4 - file.tell(), most))
        if kind == b"IEND":
            return
        file.seek(end)


def _require_plain_pixels(found: Mapping[bytes, bytes]) -> None:
    _, depth, colour, *methods = struct.unpack("8s5B", found[b"IHDR"])
    _require(methods in ([0, 0, 0], [0, 0, 1]), "its pixels are written in a way that not all readers know")
    if colour == 3:
        entries, rest = divmod(len(found.get(b"PLTE", b"")), 3)
        _require(0 < entries <= 1 << depth and rest == 0, "its palette is not plain")


def _require_whole_profile(said: bytes) -> None:
    name, _, packed = said.partition(b"\0")
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(packed[1:], _MOST_OF_A_PROFILE)
    except zlib.error as error:
        raise UnreadableError("its colour profile can't be read") from error
    plain = name != b"" and packed[:1] == b"\0" and unpacker.eof and not unpacker.unused_data
    _require(plain, "its colour profile can't be read")


def _require_plain_transparency(found: Mapping[bytes, bytes]) -> None:
    """Pillow does not scale the transparent colour of less or more than 8 bits as it does the pixels."""
    depth, colour, said = found[b"IHDR"][8], found[b"IHDR"][9], found[b"tRNS"]
    if colour == 3:
        _require(len(said) <= len(found.get(b"PLTE", b"")) // 3, "more of its colours are transparent than it has")
        return
    channels = {0: 1, 2: 3}.get(colour, 0)
    _require(channels > 0 and len(said) == 2 * channels, "its tRNS chunk does not belong to its kind of pixels")
    plain = depth == 8 or (depth == 1 and channels == 1)
    _require(plain, f"it has a transparent colour in pixels of {depth} bits, which not all readers find")
    _require(max(struct.unpack(f">{channels}H", said)) < 1 << depth, "its transparent colour is none of its colours")


def _require_one_orientation(exif: bytes) -> None:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    _require(order is not None, "its EXIF data are not plain")
    (at,) = struct.unpack_from(f"{order}I", exif, 4)
    (count,) = struct.unpack_from(f"{order}H", exif, at)
    _require(len(exif) >= at + 2 + 12 * count, "its EXIF data are cut off")
    tags = [struct.unpack_from(f"{order}HHI", exif, at + 2 + 12 * number) for number in range(count)]
    orientations = [tag[1:] for tag in tags if tag[0] == _ORIENTATION]
    _require(orientations in ([], [(3, 1)]), "its EXIF data say more than one orientation, or one that is no number")


def _jpeg(file: BinaryIO) -> None:
    """To where its pixels begin: readers turn and colour it by what stands before."""
    exifs, profiles, adobe, frames = list[bytes](), list[tuple[int, ...]](), 0, 0
    for marker, data in _jpeg_segments(file):
        if marker == 0xE1 and data[:4].lower() == _EXIF[:4].lower():
            _require(data.startswith(_EXIF), "its EXIF data do not begin as they should")
            exifs.append(data.removeprefix(_EXIF))
        elif marker == 0xE2 and data.startswith(b"ICC_PROFILE\0"):
            profiles.append((data[12], data[13]))
        adobe += marker == 0xEE and data.startswith(b"Adobe")
        frames += 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)
    _require(len(exifs) <= 1, "it has EXIF data more than once")
    _require(adobe <= 1, "it has an Adobe marker more than once")
    _require(frames == 1, "it has no head of its pixels, or more than one")
    for exif in exifs:
        _require_one_orientation(exif)
    plain = sorted(profiles) == [(at, len(profiles)) for at in range(1, len(profiles) + 1)]
    _require(plain, "the parts of its colour profile do not fit")


def _jpeg_segments(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    file.seek(2)
    while True:
        _require(file.read(1) == b"\xff", "it has something between its parts")
        while (marker := file.read(1)[0]) == 0xFF:
            pass  # fills
        _require(marker >= 0xC0 and not 0xD0 <= marker <= 0xD9, "it has something between its parts")
        (length,) = struct.unpack(">H", file.read(2))
        data = file.read(length - 2) if length > 2 else b""
        _require(length >= 2 and len(data) == length - 2, "it is cut off")
        if marker == 0xDA:
            return
        yield marker, data


class _GifFrame(NamedTuple):
    covers: bool
    """All of the screen."""
    transparent: bool
    disposal: int


def _gif(file: BinaryIO) -> None:
    """Pillow makes what no frame covers the colour of the palette's first entry, or of the background; browsers leave
    it transparent."""
    lasting, unsure = 0, False
    for number, frame in enumerate(_gif_frames(file)):
        if number == 0:
            _require(frame.covers, "its first frame does not cover the whole picture")
        whole = frame.covers and not frame.transparent
        _require(whole or not unsure, "it does not say plainly what is seen behind a frame")
        unsure = (
            frame.disposal > 3
            or (frame.disposal == 0 and lasting >= 2)
            or (frame.disposal == 2 and not frame.transparent)
            or (frame.disposal == 3 and number == 0)
        )
        lasting = frame.disposal or lasting


def _gif_frames(file: BinaryIO) -> Iterator[_GifFrame]:
    width, height, flags = struct.unpack("<6x2HB2x", file.read(13))
    _skip_palette(file, flags)
    control: bytes | None = None
    while (kind := file.read(1)) not in (b"", b";"):
        if kind == b"!":
            is_control = file.read(1) == b"\xf9"
            first = _skip_blocks(file)
            if is_control:
                _require(control is None and len(first) >= 4, "it says two things of a frame")
                control = first
        elif kind == b",":
            left, top, wide, high, flags = struct.unpack("<4HB", file.read(9))
            _require(left + wide <= width and top + high <= height, "a frame of it is larger than the picture")
            _skip_palette(file, flags)
            file.read(1)
            _skip_blocks(file)
            said = control[0] if control else 0
            yield _GifFrame((wide, high) == (width, height), bool(said & 1), said >> 2 & 7)
            control = None
        else:
            raise UnreadableError("it has something between its parts")


def _skip_palette(file: BinaryIO, flags: int) -> None:
    if flags & 0x80:
        file.read(3 << (flags & 7) + 1)


def _skip_blocks(file: BinaryIO) -> bytes:
    """Returns the first one."""
    first = block = file.read(file.read(1)[0])
    while block:
        block = file.read(file.read(1)[0])
    return first


def _webp(file: BinaryIO) -> None:
    _, size, _ = struct.unpack("<4sI4s", file.read(12))
    end, found = min(size + 8, file.seek(0, os.SEEK_END)), dict[bytes, bytes]()
    file.seek(12)
    while file.tell() + 8 <= end:
        kind, length = struct.unpack("<4sI", file.read(8))
        behind = file.tell() + length + length % 2
        name = kind.decode("ascii", "replace").rstrip()
        _require(kind not in found or kind == b"ANMF", f"it has more than one {name} chunk")
        _require(kind != b"ICCP" or list(found) == [b"VP8X"], "its colour profile does not stand where it should")
        found[kind] = file.read(min(length, _MOST_OF_A_CHUNK)) if kind in (b"VP8X", b"EXIF") else b""
        file.seek(behind)
    said = found[b"VP8X"][0] if b"VP8X" in found else 0
    for kind, flag in _WEBP_FLAGS:
        _require((kind in found) == bool(said & flag), f"its head does not say the same of {kind.decode()} as the rest")
    if b"EXIF" in found:
        _require_one_orientation(found[b"EXIF"])


def _bmp(file: BinaryIO) -> None:
    """Pillow reads no colours, and lets gaps between runs be of the first colour."""
    head = file.read(14 + 124)
    (size,) = struct.unpack_from("<I", head, 14)
    if size < 40:
        return
    depth, compression = struct.unpack_from("<HI", head, 28)
    _require(compression in (0, 3), "its pixels are compressed, which not all readers show alike")
    if size > 40:
        plain = size in (108, 124) and head[70:74] == b"BGRs" and not any(head[126 : 14 + size])
        _require(plain, "its head may say more of its colours than that they are sRGB")
        _require(depth < 32 or compression == 3, "it does not say whether its pixels are transparent")


def _tiff(file: BinaryIO) -> None:
    """No tag twice in a page. Pages that overlap would take long."""
    length, order = file.seek(0, os.SEEK_END), "<"
    file.seek(0)
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = 43 in (head[2], head[3])
    count, offset, entry = (f"{order}Q", f"{order}Q", 20) if big else (f"{order}H", f"{order}I", 12)
    (at,) = struct.unpack_from(offset, head, 8 if big else 4)
    read = 0
    while at:
        file.seek(at)
        (entries,) = struct.unpack(count, file.read(struct.calcsize(count)))
        read += entries * entry + struct.calcsize(count)
        _require(read <= length, "its pages overlap, or it is cut off")
        tags = [tag for (tag,) in struct.iter_unpack(f"{order}H{entry - 2}x", file.read(entries * entry))]
        _require(len({*tags}) == len(tags), "a page of it says something twice")
        (at,) = struct.unpack(offset, file.read(struct.calcsize(offset)))


_CHECKS: Final[Mapping[str, Callable[[BinaryIO], Mapping[bytes, bytes] | None]]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "GIF": _gif,
    "WEBP": _webp,
    "BMP": _bmp,
    "TIFF": _tiff,
}
