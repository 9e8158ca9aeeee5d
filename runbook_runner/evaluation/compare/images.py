"""Evaluation, compare: images, by pixels as they are shown: turned as their EXIF data say, with the same colours."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Final

from PIL import ExifTags, Image, ImageChops, ImageOps

from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.text import counted
from runbook_runner.evaluation.compare.pictures import require_one_reading
from runbook_runner.evaluation.compare.rule import Rule, UnreadableError

_FORMATS: Final = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")
"""Others start programs."""
_MOST_PIXELS: Final = 40_000_000
_STRIP: Final = 1 << 20
"""Pixels that are compared at once."""
_WITH_ALPHA: Final = ("RGBA", "LA", "PA", "RGBa", "La")
_MOST_SAID: Final = 64
"""Bytes of each that count; those of a profile are compared by Pillow."""
_AS_WITHOUT: Final = (
    (b"gAMA", struct.pack(">I", 45455)),
    (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
    (b"cICP", bytes((1, 13, 0, 1))),
)
"""Those of sRGB, which an image has that says nothing."""

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Picture:
    image: Image.Image
    colours: frozenset[tuple[bytes, bytes]]
    """What the file says of them beside a profile."""


def read(path: Path) -> Picture:
    """Each frame is decoded when it is compared."""
    Image.MAX_IMAGE_PIXELS = None  # `_decoded` bounds each frame, not only the first one
    image = Image.open(open_regular(path), formats=_FORMATS)
    said = require_one_reading(path, image.format or "")
    _decoded(image)
    return Picture(image, _said_of_colours(said))


def _said_of_colours(found: Mapping[bytes, bytes]) -> frozenset[tuple[bytes, bytes]]:
    """Pillow does not know them all."""
    said = {(kind, data[:_MOST_SAID]) for kind, data in found.items()} - set(_AS_WITHOUT)
    return frozenset(item for item in said if item[0] != b"iCCP" and (item[0] != b"sRGB" or b"iCCP" in found))


def _decoded(image: Image.Image) -> None:
    if image.width * image.height > _MOST_PIXELS:
        size = f"{image.width:,} × {image.height:,} pixels"
        raise UnreadableError(f"it has {size}, and {_MOST_PIXELS // 1_000_000} million are compared at most")
    image.info.pop("xmp", None)  # of a TIFF image; Pillow turns it by that, as few viewers do
    image.load()
    if image.mode in ("I", "F"):
        raise UnreadableError("its pixels are numbers of 32 bits; it can be compared by bytes")
    if image.mode == "P" and any(image.histogram()[len(image.getpalette() or ()) // 3 :]):
        raise UnreadableError("it has pixels with a colour that its palette does not have")


def compare(expected: Picture, found: Picture, rule: Rule) -> Iterator[str]:
    """What differs in colours, or the first frame that differs."""
    if differing := expected.colours ^ found.colours:
        kinds = ", ".join(sorted({kind.decode() for kind, _ in differing}))
        yield f"The image: what is said of colours differs ({kinds}), so that equal pixels are other colours."
        return
    yield from _frames(expected.image, found.image, rule)


def _frames(expected: Image.Image, found: Image.Image, rule: Rule) -> Iterator[str]:
    frames, frames_found = (getattr(image, "n_frames", 1) for image in (expected, found))
    if frames != frames_found:
        yield f"Expected {counted(frames, 'frame')}, found {frames_found:,}."
        return
    for number in range(frames):
        for image in (expected, found):
            image.seek(number)
            _decoded(image)
        frame = f"Frame {number + 1}: " if frames > 1 else ""
        if expected.info.get("icc_profile") != found.info.get("icc_profile"):
            yield f"{frame or 'The image: '}the colour profiles differ, so that equal pixels are other colours."
            return
        one, two = _turned(expected), _turned(found)
        if one.size != two.size:
            sizes = ["{:,} × {:,} pixels".format(*image.size) for image in (one, two)]
            yield f"{frame or 'The size: '}expected {sizes[0]}, found {sizes[1]}."
            return
        pixels = one.width * one.height
        count, (left, top, right, bottom) = _differing(one, two, rule.pixel_distance)
        if count > rule.tolerance * pixels:
            share = f"{count:,} of {pixels:,} pixels ({count / pixels:.2%})"
            yield f"{frame}{share} differ, between ({left}, {top}) and ({right - 1}, {bottom - 1})."
            return


def _turned(image: Image.Image) -> Image.Image:
    """`Image.getexif` also takes an orientation from elsewhere, which viewers do not obey."""
    exif = Image.Exif()
    exif.load(image.info.get("exif", b""))
    return ImageOps.exif_transpose(image) if exif.get(ExifTags.Base.Orientation, 1) != 1 else image


def _differing(one: Image.Image, two: Image.Image, distance: float) -> tuple[int, Box]:
    """How many pixels, and the box that they are in."""
    count, boxes = 0, list[Box]()
    rows = max(1, _STRIP // one.width)
    for top in range(0, one.height, rows):
        strip = (0, top, one.width, min(top + rows, one.height))
        channels = ImageChops.difference(_colours(one.crop(strip)), _colours(two.crop(strip))).split()
        most = int(distance * 255)
        differs = reduce(ImageChops.lighter, channels).point([0] * (most + 1) + [255] * (255 - most))
        if box := differs.getbbox():
            count += differs.histogram()[255]
            boxes.append((box[0], top + box[1], box[2], top + box[3]))
    if not boxes:
        return 0, (0, 0, 0, 0)
    left, upper, right, lower = zip(*boxes, strict=True)
    return count, (min(left), min(upper), max(right), max(lower))


def _colours(image: Image.Image) -> Image.Image:
    """At 8 bits a channel; the colour of what is transparent does not count."""
    if image.mode.startswith("I;16"):
        image = image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if image.mode not in _WITH_ALPHA and "transparency" not in image.info:
        image = image.convert("RGB")
    return image.convert("RGBA").convert("RGBa")
