"""Room `runbook`: the files a run must produce, from the REQUIRED OUTPUT FILES table (contract §3.5), and how paths of
results are spelled."""

import re
from collections.abc import Callable, Iterator, Sequence
from posixpath import normpath

from runbook_runner.core.declared import RequiredOutput
from runbook_runner.runbook.markdown.blocks import Outline
from runbook_runner.runbook.markdown.tables import Cell, Row, Table
from runbook_runner.runbook.parts.sections import find
from runbook_runner.runbook.parts.short_form import ShortForm, mentions, short_form

_PREFIX = re.compile(r"(?:\{\{\s*results_dir\s*\}\}|/app/results|(?:\./)?results)(?:/|\Z)")
_DESCRIPTIONS = ("description", "purpose", "content", "contents")
_FILES = ("file", "path", "output", "artifact", "deliverable")
_NO = re.compile(
    r"(?:no|optional|false|never|only|if|when|unless|conditional|on request|required (?:if|for|when|unless))\b"
)
_CONDITION = re.compile(
    r"(?:^|[.;(\[—–]|\s-\s)\s*(?:this (?:file )?is )?(?:optional\b|only (?:if|when|for)\b|(?:if|when|unless)\s)"
    r"|\b(?:if|when|where) (?:requested|applicable|any|needed|available|asked)\b|\(optional\)",
    re.IGNORECASE,
)
"""How a row says that not every run makes its file: `Optional`, `— only if …`, `(when the data has dates)`."""
_CHOICES = ("operation", "mode", "action", "command", "request", "scenario", "variant", "case", "when", "if")


def in_results(spelled: str) -> str | None:
    """`{{results_dir}}/a/b`, `/app/results/a/b`, `./results/a/b`, `results/a/b` and `a/b` → `a/b`.

    `<…>` and `*` stay: they are patterns. `None` for what is not below the results directory: the directory itself,
    other absolute paths, `..`. A trailing slash (a folder) is dropped.
    """
    path = _below_results(spelled)
    return None if path == "." or "\0" in path or RequiredOutput(path).is_elsewhere else path


def is_elsewhere(spelled: str) -> bool:
    """Whether it is outside of the results directory, which itself is not."""
    return RequiredOutput(_below_results(spelled)).is_elsewhere


def _below_results(spelled: str) -> str:
    """Normalised; `.` for the directory itself."""
    path = normpath(spelled.strip())
    return _PREFIX.sub("", path, count=1) or "." if _PREFIX.match(path) else path


def looks_like_path(text: str) -> bool:
    """One word with a folder, an extension or a pattern in it: `a.md`, `out/`, `<slug>`, `*`. Not `audit`."""
    return (
        bool(text)
        and not re.search(r"\s", re.sub(r"<[^<>]*>|\{\{[^{}]*\}\}", "", text))
        and bool(re.search(r"[./*<]|\{\{", text))
    )


_Fill = Callable[[str], str]


def required_outputs(outline: Outline, fill: _Fill = str) -> tuple[RequiredOutput, ...]:
    """In manifest order, each path once. Every table of the section counts, except below a heading that says
    "optional". Those outside of the results directory count as well, as they are spelled: a run that lacks what it
    can't deliver must not pass. fill: puts values in."""
    section = find(outline.sections, "required output", prefix=True)
    found: dict[str, RequiredOutput] = {}
    if section is None and (form := short_form(outline.sections)):
        found = {path: RequiredOutput(path) for path, _ in _named(form, fill)}
    for table in outline.tables_in(section) if section else ():
        below = outline.innermost(table.line)
        if below and "optional" in below.title.lower():
            continue
        for output in _rows(table, fill):
            found.setdefault(output.path, output)
    return tuple(found.values())


def _named(form: ShortForm, fill: _Fill) -> Iterator[tuple[str, int]]:
    """Yields path and line. The short form has no table: what it calls a path below the results is required, unless its
    item is for some runs only."""
    for mention in mentions(form):
        spelled = fill(mention.spelled)
        path = _below_results(spelled) if looks_like_path(mention.spelled) else "."
        if path != "." and _PREFIX.match(normpath(spelled.strip())) and not _CONDITION.search(mention.item):
            yield path, mention.line


def output_lines(outline: Outline) -> dict[str, int]:
    """Path → line of the row that names it first."""
    section = find(outline.sections, "required output", prefix=True)
    lines: dict[str, int] = {}
    if section is None and (form := short_form(outline.sections)):
        lines = dict(reversed(list(_named(form, str))))
    for table in outline.tables_in(section) if section else ():
        for line, spelled in spelled_outputs(table):
            lines.setdefault(_required(spelled) or "", line)
    return lines


def spelled_outputs(table: Table) -> Iterator[tuple[int, str]]:
    """Line and path of every file a manifest table names, as it is written, wherever it would be."""
    names = [cell.text.lower() for cell in table.header.cells]
    for row in table.rows:
        yield from ((row.line, path) for path in _paths(names, row)[1])


def _rows(table: Table, fill: _Fill) -> Iterator[RequiredOutput]:
    names = [cell.text.lower() for cell in table.header.cells]
    if names[0].split(" ")[0].rstrip("s") in _CHOICES:
        yield from _common(names, table.rows, fill)
        return
    for row in table.rows:
        if _is_optional(names, row):
            continue
        column, spelled = _paths(names, row)
        for path in filter(None, map(_required, map(fill, spelled))):
            yield RequiredOutput(path=path, description=fill(_description(names, row, column)))


def _common(names: Sequence[str], rows: Sequence[Row], fill: _Fill) -> Iterator[RequiredOutput]:
    """A table keyed by operation (contract §3.14, `nutlope/hallmark`): a run does one of them, so it owes only the
    files that every row names."""
    sets = [dict.fromkeys(filter(None, map(_required, map(fill, _paths(names, row)[1])))) for row in rows]
    for path in sets[0] if sets else ():
        if all(path in others for others in sets):
            yield RequiredOutput(path=path)


def _required(spelled: str) -> str | None:
    """`None` for the results directory itself."""
    return in_results(spelled) or (spelled.strip() if is_elsewhere(spelled) and "\0" not in spelled else None)


def _is_optional(names: Sequence[str], row: Row) -> bool:
    if "required" in names and (said := row.cells[names.index("required")].text.lower().strip(" .*()–—-")):
        return bool(_NO.match(said))
    return any(_CONDITION.search(cell.text) for cell in row.cells)


def _paths(names: Sequence[str], row: Row) -> tuple[int, Sequence[str]]:
    """Which column names the files, and the names. An operation table (`Operation | Required files`) names them in
    its second column; a bare code span like `Makefile` counts only in a column that says it holds files."""
    for column, cell in enumerate(row.cells[:2]):
        if paths := _paths_of(cell):
            return column, paths
    return 0, row.cells[0].codes if any(word in names[0] for word in _FILES) else ()


def _paths_of(cell: Cell) -> tuple[str, ...]:
    """All code spans as soon as one looks like a path; without any, the plain text if it does."""
    spelled = cell.codes or (cell.text,)
    return spelled if any(map(looks_like_path, spelled)) else ()


def _description(names: Sequence[str], row: Row, column: int) -> str:
    for index, name in enumerate(names):
        if name in _DESCRIPTIONS:
            return row.cells[index].text
    return " — ".join(cell.text for index, cell in enumerate(row.cells) if index != column and cell.text)
