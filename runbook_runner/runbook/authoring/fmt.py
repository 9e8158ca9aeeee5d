"""Room `runbook`: the normal form of a document: tables in line, frontmatter in order, all else byte for byte."""

from typing import Any

from runbook_runner.core.errors import InputError
from runbook_runner.core.settings import RUNBOOK_FILE
from runbook_runner.runbook.authoring.fmt_frontmatter import ordered
from runbook_runner.runbook.authoring.fmt_tables import align
from runbook_runner.runbook.document import parse
from runbook_runner.runbook.markdown.blocks import Outline, outline
from runbook_runner.runbook.markdown.tables import Table
from runbook_runner.runbook.parts.frontmatter import cut


def formatted(text: str, source: str = RUNBOOK_FILE) -> str:
    """The text in normal form. The parser sees the same in it but for line numbers and the raw text of sections.

    Line ends and a byte order mark stay. Raises InputError, with the line, for what is not a runbook.
    """
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    text = text.removeprefix(mark)
    parse(text, source)
    parts = cut(text)
    return mark + ordered(parts) + _body(parts.body)


def says_the_same(one: str, two: str) -> bool:
    """Whether two documents have the same normal form: an agent reads all of the text, also what no page shows."""
    try:
        return one == two or formatted(one) == formatted(two)
    except InputError:  # one of them is not a runbook
        return False


def _body(body: str) -> str:
    """All tables stay as they are when the new ones together would mean something else."""
    before = outline(body)
    lines = body.split("\n")
    for table in before.tables:
        _replace(lines, table)
    after = "\n".join(lines)
    return after if after == body or _seen(outline(after)) == _seen(before) else body


def _replace(lines: list[str], table: Table) -> None:
    """Rewrites the table's lines in place, unless a rewrite could change its meaning."""
    first, count = table.line - 1, 2 + len(table.rows)
    if [row.line for row in table.rows] != list(range(table.line + 2, table.line + count)):
        return
    old = lines[first : first + count]
    ends = ["\r" if line.endswith("\r") else "" for line in old]
    new = align([line.removesuffix("\r") for line in old])
    if new is not None:
        lines[first : first + count] = [line + end for line, end in zip(new, ends, strict=True)]


def _seen(outline: Outline) -> tuple[Any, ...]:
    """The content of an outline, without lines and offsets."""
    return (
        [(heading.level, heading.title) for heading in outline.headings],
        [[row.cells for row in (table.header, *table.rows)] for table in outline.tables],
        [(fence.info, fence.code) for fence in outline.fences],
    )
