"""Evaluation, judge: the results as a judge gets them: texts and pictures, required ones first, within bounds. What is
left out is named."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

from runbook_runner.core.apart.process import OnCancel
from runbook_runner.core.asking.question import Picture
from runbook_runner.core.declared import RequiredOutput
from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.disk.walk import MOST_RECORDED, files_below
from runbook_runner.core.text import counted, printable_name
from runbook_runner.evaluation.judge.formats import has_text_name, is_binary, is_pdf, picture_kind, text_of
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

Cause = Literal["agent", "bounds", "format"]
"""Why something is left out: for what the agent has written, these bounds, or a format that is not shown."""


class Material(NamedTuple):
    parts: tuple[str | Picture, ...]
    not_shown: tuple[str, ...] = ()
    """What of the results is not in them because of these bounds, or of a format that is not shown, for people and for
    the judge."""
    unreadable: tuple[str, ...] = ()
    """What is not in them because of what the agent has written; so is a required output that is too large: how large
    it is, the agent has chosen."""
    unseen: tuple[str, ...] = ()
    """Required outputs of which nothing is in them, because of their format alone."""
    refused: tuple[str, ...] = ()
    """The other required outputs of which nothing is in them."""

    @property
    def left_out(self) -> tuple[str, ...]:
        return (*self.unreadable, *self.not_shown)

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
    room, parts = _Room(to_app, clean, on_cancel, share), list[str | Picture]()
    not_shown, unreadable = list[str](), list[str]()
    wanted = {output.path: _matching(results, output) for output in required if not output.is_elsewhere}
    first = dict.fromkeys(path for paths in wanted.values() for path in paths)
    shown, excused = set[Path](), set[Path]()
    for number, path in enumerate(dict.fromkeys((*first, *_files(results.root)))):
        name = path.relative_to(results.root).as_posix()
        if name == REPORT:
            shown.add(path)
            continue
        if number >= _MOST_FILES:
            not_shown.append(f"all files after the first {_MOST_FILES:,}")
            break
        found = _shown(path, name, room, is_required=path in first)
        parts += found.parts
        if found.parts:
            shown.add(path)
        elif found.cause == "format":
            excused.add(path)
        if found.lack:
            is_excused = found.cause == "format" or (found.cause == "bounds" and path not in first)
            (not_shown if is_excused else unreadable).append(f"{printable_name(name)}: {found.lack}")
    lacking = {name: paths for name, paths in wanted.items() if paths and shown.isdisjoint(paths)}
    refused = tuple(printable_name(name) for name, paths in lacking.items() if not excused.issuperset(paths))
    unseen = tuple(printable_name(name) for name, paths in lacking.items() if excused.issuperset(paths))
    return Material(tuple(parts), _named(not_shown), _named(unreadable), unseen, refused)


def _named(lacks: list[str]) -> tuple[str, ...]:
    more = len(lacks) - _MOST_NAMED
    return (*lacks[:_MOST_NAMED], *([counted(more, "more file")] if more > 0 else []))


def why_refused(material: Material) -> str:
    """Why a judge is not asked about it; empty: it is."""
    names = ", ".join(material.refused)
    why = "it can't be read, or is too large or too much"
    return f"nothing of what is required can be shown to a judge, as {why}: {names}." if names else ""


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


class _Shown(NamedTuple):
    """The parts of one file."""

    parts: list[str | Picture]
    lack: str = ""
    """What is left out of it."""
    cause: Cause = "bounds"


def _matching(results: ResultsFolder, output: RequiredOutput) -> list[Path]:
    return [inner for match in results.matching(output.path) for inner in _files(match)]


def _files(path: Path) -> Iterator[Path]:
    yield from [path] if path.is_file() else files_below(path, most=MOST_RECORDED)


def _shown(path: Path, name: str, room: _Room, *, is_required: bool) -> _Shown:
    """A file is a picture, a PDF file or of another known format only where its name says so, so that no agent hides a
    text from the judge by a few bytes; any other one that is required is text, too."""
    is_named_text = has_text_name(name)
    try:
        with open_regular(path) as file:
            data = file.read(max(PICTURE_BYTES, _TEXT_BYTES) + 1)
            has_pages = is_pdf(name, data)
            if has_pages and not room.no_pages:
                data += file.read(MOST_BYTES + 1 - len(data))
        size = path.stat().st_size
    except OSError as error:
        return _Shown([], f"it can't be read: {error.strerror}", cause="agent")
    if has_pages:
        return _pages(data, name, room)
    if kind := picture_kind(name, data):
        return _Shown(*_picture(data, kind, name, room))
    is_cut = size > _TEXT_BYTES
    found = text_of(data[:_TEXT_BYTES], is_cut=is_cut)
    if found.replaced and not is_named_text and ((is_known := is_binary(name, data)) or not is_required):
        lack = f"{counted(size, 'byte')} that are neither text nor a picture"
        return _Shown([], lack, "format" if is_known else "agent")
    told = f"text, in which \ufffd stands {counted(found.replaced, 'time')} for what is no text"
    what = told if found.replaced else "text"
    return _Shown(*_texts(room.to_app(found.text), name, room, is_cut=is_cut, what=what))


def _pages(data: bytes, name: str, room: _Room) -> _Shown:
    """Each with its text, the first ones as pictures too: what a page says, and how it looks. A PDF file is packed, so
    that it was not searched for secrets when it was collected."""
    if room.clean is None or room.no_pages:
        return _Shown([], room.no_pages, "format" if room.clean is None else "bounds")
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
    cause: Cause = "agent" if found.is_broken else "format" if found.is_unknown else "bounds"
    return _Shown(parts, "; ".join(lacks), cause)


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
