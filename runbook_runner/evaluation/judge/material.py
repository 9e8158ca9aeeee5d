"""Evaluation, judge: the results as a judge gets them: texts and pictures, required ones first, within bounds. What is
left out is named."""

import codecs
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from runbook_runner.core.apart.process import OnCancel
from runbook_runner.core.asking.question import Picture
from runbook_runner.core.declared import RequiredOutput
from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.disk.walk import MOST_RECORDED, files_below
from runbook_runner.core.text import counted, printable_name
from runbook_runner.evaluation.judge.pages import MOST_BYTES, MOST_SECONDS, pages_of
from runbook_runner.evaluation.judge.sides import sides_of
from runbook_runner.evaluation.outputs import ResultsFolder
from runbook_runner.evaluation.report import REPORT

MOST_CHARS: Final = 300_000
"""Of all texts: what a context of 128,000 tokens holds, with room for the task and pictures."""
FILE_CHARS: Final = 100_000
MOST_PICTURES: Final = 12
PICTURE_BYTES: Final = 3_500_000
"""In base64 it stays below the 5 MB that Anthropic takes."""
ALL_PICTURES_BYTES: Final = 12_000_000
"""In base64 it stays below the 20 MB that Google takes in one request."""
LONGEST_SIDE: Final = 8000
"""Pixels; Anthropic refuses a request with a larger picture."""
_TEXT_BYTES: Final = 4 * FILE_CHARS
_MOST_NAMED: Final = 50
_MOST_FILES: Final = 1000
_DRAWN_PAGES: Final = 6  # of one file
_PAGE_CHARS: Final = 20_000
_LEAST_SECONDS: Final = 0.5
"""With less, a process would hardly start."""
_PDF: Final = b"%PDF-"
_KINDS: Final = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))


class Material(NamedTuple):
    parts: tuple[str | Picture, ...]
    left_out: tuple[str, ...]
    """What of the results is not in them, for people and for the judge."""

    @property
    def is_empty(self) -> bool:
        return not self.parts


def material_of(
    results: ResultsFolder,
    required: Iterable[RequiredOutput],
    to_app: Callable[[str], str],
    clean: Callable[[str], str] | None,
    on_cancel: OnCancel,
    share: int = 1,
) -> Material:
    """The agent's report of itself is no result. to_app, clean: see `Judge`. share: so many have one context together.
    Raises CancelledError."""
    room, parts, left_out = _Room(to_app, clean, on_cancel, share), list[str | Picture](), list[str]()
    for number, path in enumerate(_in_order(results, required)):
        name = path.relative_to(results.root).as_posix()
        if name == REPORT:
            continue
        if number >= _MOST_FILES:
            left_out.append(f"all files after the first {_MOST_FILES:,}")
            break
        found, lack = _shown(path, name, room)
        parts += found
        left_out += [f"{printable_name(name)}: {lack}"] if lack else []
    if (more := len(left_out) - _MOST_NAMED) > 0:
        left_out = [*left_out[:_MOST_NAMED], f"{counted(more, 'more file')}"]
    return Material(tuple(parts), tuple(left_out))


class _Room:
    """What may still be shown, and how: see `material_of`."""

    def __init__(
        self, to_app: Callable[[str], str], clean: Callable[[str], str] | None, on_cancel: OnCancel, share: int
    ) -> None:
        self.to_app = to_app
        self.clean = clean
        self.on_cancel = on_cancel
        self.most_chars = self.chars = MOST_CHARS // share
        self.most_pictures = self.pictures = MOST_PICTURES // share
        self.most_picture_bytes = self.picture_bytes = ALL_PICTURES_BYTES // share
        self.most_seconds = self.seconds = MOST_SECONDS / share
        """In which all PDF files are read."""

    @property
    def no_pages(self) -> str:
        """Why no further PDF file is read; empty: it may be."""
        if self.clean is None:
            return "a PDF, in which secrets of the run may be that are not known here"
        if not self.chars and not (self.pictures and self.picture_bytes):
            return f"{self.most_chars:,} characters of text and {self.most_pictures} pictures are shown at most"
        if self.seconds < _LEAST_SECONDS:
            return f"all PDF files are read in {self.most_seconds:g} s at most"
        return ""

    def take(self, picture: bytes) -> None:
        self.pictures -= 1
        self.picture_bytes -= len(picture)


def _in_order(results: ResultsFolder, required: Iterable[RequiredOutput]) -> Iterator[Path]:
    wanted = (match for output in required if not output.is_elsewhere for match in results.matching(output.path))
    first = (inner for match in wanted for inner in _files(match))
    yield from dict.fromkeys((*first, *_files(results.root)))


def _files(path: Path) -> Iterator[Path]:
    yield from [path] if path.is_file() else files_below(path, most=MOST_RECORDED)


def _shown(path: Path, name: str, room: _Room) -> tuple[list[str | Picture], str]:
    """The parts of one file, and what is left out of it."""
    try:
        with open_regular(path) as file:
            data = file.read(max(PICTURE_BYTES, _TEXT_BYTES) + 1)
            is_pdf = data.startswith(_PDF)
            if is_pdf and not room.no_pages:
                data += file.read(MOST_BYTES + 1 - len(data))
        size = path.stat().st_size
    except OSError as error:
        return [], f"it can't be read: {error.strerror}"
    if is_pdf:
        return _pages(data, name, room)
    if kind := _picture_kind(data):
        return _picture(data, kind, name, room)
    text = _text(data[:_TEXT_BYTES], is_cut=size > _TEXT_BYTES)
    if text is None:
        return [], f"{counted(size, 'byte')} that are neither text nor a picture"
    return _texts(room.to_app(text), name, room, is_cut=size > _TEXT_BYTES)


def _pages(data: bytes, name: str, room: _Room) -> tuple[list[str | Picture], str]:
    """Each with its text, the first ones as pictures too: what a page says, and how it looks. A PDF file is packed, so
    that it was not searched for secrets when it was collected."""
    if room.clean is None or room.no_pages:
        return [], room.no_pages
    found = pages_of(data, room.on_cancel, pictures=min(room.pictures, _DRAWN_PAGES), seconds=room.seconds)
    room.seconds -= found.seconds
    parts, lacks = list[str | Picture](), [found.lack] if found.lack else []
    for number, page in enumerate(found.pages, 1):
        text = room.to_app(room.clean(page.text))  # before it is cut: no secret is to be halved
        is_cut = len(text) > _PAGE_CHARS
        shown, lack = _texts(text[:_PAGE_CHARS], name, room, is_cut=is_cut, what=f"page {number}")
        parts += shown
        lacks += [f"of page {number} {lack}"] if lack else []
        if 0 < len(page.picture) <= min(PICTURE_BYTES, room.picture_bytes):
            room.take(page.picture)
            parts.append(Picture("image/png", page.picture))
    return parts, "; ".join(lacks)


def _picture(data: bytes, kind: str, name: str, room: _Room) -> tuple[list[str | Picture], str]:
    if len(data) > PICTURE_BYTES:
        return [], f"a picture larger than {PICTURE_BYTES:,} bytes"
    if not room.pictures:
        return [], f"{room.most_pictures} pictures are shown at most"
    if any(side > LONGEST_SIDE for side in sides_of(data, kind)):
        return [], f"a picture with a side longer than {LONGEST_SIDE:,} pixels"
    if len(data) > room.picture_bytes:
        return [], f"{counted(room.most_picture_bytes, 'byte')} of pictures are shown at most"
    room.take(data)
    return [_title(name, kind), Picture(kind, data)], ""


def _texts(text: str, name: str, room: _Room, *, is_cut: bool, what: str = "text") -> tuple[list[str | Picture], str]:
    if not room.chars:
        return [], f"{room.most_chars:,} characters of text are shown at most"
    shown = text[: min(FILE_CHARS, room.chars)]
    room.chars -= len(shown)
    lack = "" if len(shown) == len(text) and not is_cut else f"all after its first {len(shown):,} characters"
    end = "\n[… the rest is left out …]" if lack else ""
    return [f"{_title(name, what)}\n{shown}{end}"], lack


def _title(name: str, what: str) -> str:
    """The agent has named the file."""
    return f"--- file {json.dumps(name, ensure_ascii=False)}, {what} ---"


def _picture_kind(data: bytes) -> str | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for begin, kind in _KINDS if data.startswith(begin)), None)


def _text(data: bytes, *, is_cut: bool) -> str | None:
    """`None` for what is no text. is_cut: a character at its end may be incomplete."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(data, final=not is_cut)
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text
