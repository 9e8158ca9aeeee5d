"""Evaluation, compare: images, by pixels as they are shown: turned as their EXIF data say, with one colour profile."""

from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Final

from PIL import ExifTags, Image, ImageChops, ImageOps

from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.text import counted
from runbook_runner.evaluation.compare.rule import Rule, UnreadableError

_FORMATS: Final = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")
"""Others start programs."""
_MOST_PIXELS: Final = 40_000_000
_STRIP: Final = 1 << 20
"""Pixels that are compared at once."""
_WITH_ALPHA: Final = ("RGBA", "LA", "PA", "RGBa", "La")

Box = tuple[int, int, int, int]


def read(path: Path) -> Image.Image:
    """Each frame is decoded when it is compared."""
    Image.MAX_IMAGE_PIXELS = None  # `_decoded` bounds each frame, not only the first one
    image = Image.open(open_regular(path), formats=_FORMATS)
    _decoded(image)
    return image


def _decoded(image: Image.Image) -> None:
    if image.width * image.height > _MOST_PIXELS:
        size = f"{image.width:,} × {image.height:,} pixels"
        raise UnreadableError(f"it has {size}, and {_MOST_PIXELS // 1_000_000} million are compared at most")
    image.load()
    if image.mode in ("I", "F"):
        raise UnreadableError("its pixels are numbers of 32 bits; it can be compared by bytes")


def compare(expected: Image.Image, found: Image.Image, rule: Rule) -> Iterator[str]:
    """The first frame that differs."""
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
    return ImageOps.exif_transpose(image) if image.getexif().get(ExifTags.Base.Orientation, 1) != 1 else image


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
