"""Evaluation, compare: PDF files, by the text of each page."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from pypdfium2 import PdfDocument

from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.text import counted
from runbook_runner.evaluation.compare import texts
from runbook_runner.evaluation.compare.rule import Rule, UnreadableError

_MOST_PAGES: Final = 2000


def read(path: Path) -> Sequence[str]:
    """The text of each page."""
    with open_regular(path) as file:
        document = PdfDocument(file.read())
    if len(document) > _MOST_PAGES:
        raise UnreadableError(f"it has {counted(len(document), 'page')}, and {_MOST_PAGES:,} are compared at most")
    return [page.get_textpage().get_text_bounded() for page in document]


def compare(expected: Sequence[str], found: Sequence[str], rule: Rule) -> Iterator[str]:
    """The first line of each page that differs."""
    if len(expected) != len(found):
        yield f"Expected {counted(len(expected), 'page')}, found {len(found):,}."
    for number, (one, two) in enumerate(zip(expected, found, strict=False), 1):
        yield from texts.compare(one.splitlines(), two.splitlines(), rule, f"Page {number}, line")
