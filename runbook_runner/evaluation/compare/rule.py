"""Evaluation, compare: how a file is compared with the expected one, and what differs."""

import math
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath
from typing import Final, Literal, NamedTuple, get_args

from runbook_runner.core.patterns import check_pattern

How = Literal["auto", "text", "json", "csv", "image", "pdf", "xlsx", "bytes", "ignore"]

_BY_SUFFIX: Final[dict[str, How]] = {
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "json"),
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff"), "image"),
    ".pdf": "pdf",
    **dict.fromkeys((".xlsx", ".xlsm"), "xlsx"),
}


@dataclass(frozen=True)
class Rule:
    """How the files that fit are compared. Raises ValueError, with a sentence for people, for values that can't be
    used."""

    files: str
    """Path or pattern, relative to the folder: `*` and `?` match within one name, `**` any number of folders."""
    how: How = "auto"
    """`auto`: by the ending of the name, otherwise as text, or by bytes what is not UTF-8. `ignore`: not at all.

    text: line by line; line ends and blanks at the ends of lines don't count. json: by values; the order of keys does
    not count, 1 and 1.0 are the same, and so are NaN and NaN; the last of two equal keys counts; `.jsonl` is a list.
    csv: by cells; the delimiter may differ, blank lines don't count. image: by pixels at 8 bits a channel, turned as
    EXIF data say; the colour profile, gamma and the like are the same, and all readers show the same picture. pdf: by
    the text of each page. xlsx: by the values of cells, sheet by sheet; of a formula, the stored result."""
    ignore: tuple[str, ...] = ()
    """text and pdf: regular expressions of RE2; what they match within a line is left out. json: JSON pointers (RFC
    6901), `*` as a part stands for every key or index. csv and xlsx: columns by their names in the first row."""
    tolerance: float = 0.0
    """json, csv and xlsx: by how much numbers may differ, in absolute terms or, below 1, also relative to the larger
    one. image: the share, from 0 to 1, of the pixels that may differ."""
    pixel_distance: float = 0.0
    """image: by how much a channel may differ in pixels that are still the same, from 0 to 1 (black to white)."""

    def __post_init__(self) -> None:
        parts = PurePosixPath(self.files).parts
        if not parts or self.files.startswith("/") or ".." in parts:
            raise ValueError(f"files is a path or pattern below the folder, not {self.files!r}.")
        if self.how not in get_args(How):
            raise ValueError(f"how is one of {', '.join(get_args(How))}, not {self.how!r}.")
        most = 1.0 if self.how == "image" else math.inf
        if not (0 <= self.tolerance <= most and math.isfinite(self.tolerance)):
            raise ValueError("tolerance is a number from 0 on; for images, the share of pixels, from 0 to 1.")
        if not 0 <= self.pixel_distance <= 1:
            raise ValueError("pixel_distance is a number from 0 to 1.")
        check_ignored(self.ignore, self.how)


USED: Final[dict[How, tuple[str, ...]]] = {
    **dict.fromkeys(("text", "pdf"), ("ignore",)),
    **dict.fromkeys(("json", "csv", "xlsx"), ("ignore", "tolerance")),
    "image": ("tolerance", "pixel_distance"),
}
"""Which values of a rule say something for files that are compared so; none for the others."""


class Difference(NamedTuple):
    path: str
    """Of the file, relative to the folder."""
    message: str
    """One sentence: where, and both values, shortened."""


class UnreadableError(ValueError):
    """The content of a file is not what its type wants; the message says why."""


def check_ignored(ignore: tuple[str, ...], how: How) -> None:
    """Raises ValueError, with a sentence for people."""
    for entry in ignore:
        if how in ("text", "pdf"):
            check_pattern(entry)
        elif how == "json" and not entry.startswith("/"):
            raise ValueError(f"ignore has JSON pointers, which begin with a slash, not {entry!r}.")


def how_by_name(path: PurePath) -> How | None:
    """`None` when the name does not tell."""
    return _BY_SUFFIX.get(path.suffix.lower())
