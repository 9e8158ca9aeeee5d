"""Room `runbook`: the Parameters table (contract §3.6): which values a runbook takes."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from runbook_runner.core import settings
from runbook_runner.runbook.markdown.blocks import Outline
from runbook_runner.runbook.markdown.tables import Cell, Row, Table
from runbook_runner.runbook.parts.parameter_defaults import Default, Kind, read_default, read_required, required_in_text
from runbook_runner.runbook.parts.sections import find
from runbook_runner.runbook.parts.substitution import placeholders, used_names

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_NAME_HEADERS = ("parameter", "name", "variable", "input")


class Parameter(NamedTuple):
    name: str
    label: str
    """First cell of the row, as people read it."""
    description: str
    default: str | None
    """`None`: no default, or one in prose that only the agent can make sense of."""
    required: bool
    conditional: bool
    """Required under a condition stated in `prose`: never blocks a run, the agent judges."""
    kind: Kind
    """What the default cell says, without the Required column."""
    prose: str
    """The default cell's text when it is not plainly a value: `today's date`, `required if …`; of `results_dir`, whose
    default is the same in every sandbox, what the cell says when it is not the results directory."""
    line: int

    @property
    def must_be_given(self) -> bool:
        """Only the caller can give this value."""
        return self.required and self.default is None


class _Columns(NamedTuple):
    """Where a table keeps what; `None`: it has no such column."""

    variable: int | None
    default: int | None
    required: int | None
    description: int | None
    names_variables: bool
    """The default column may name environment variables: `Environment / Path`."""

    @classmethod
    def of(cls, header: Row) -> "_Columns":
        names = [cell.text.lower() for cell in header.cells]
        return cls(
            variable=_first(names, "variable"),
            default=_first(names, "default", "value", "environment", "path"),
            required=_first(names, "required"),
            description=_first(names, "description", "notes", "meaning"),
            names_variables=any("environment" in name for name in names),
        )


def _first(names: Sequence[str], *words: str) -> int | None:
    """The first word that is in a header decides; column 0 is always the parameter itself."""
    fits = (index for word in words for index, name in enumerate(names) if index and word in name)
    return next(fits, None)


def read_parameters(outline: Outline, body: str) -> tuple[Parameter, ...]:
    """The rows of the Parameters section's tables, in order; of two rows of one name the first counts.

    body: the document's text, to know which spelling of a one-word label its placeholders use.
    """
    found: dict[str, Parameter] = {}
    for name, row, columns in _named_rows(outline, body):
        found.setdefault(name, _parameter(name, row, columns))
    return tuple(found.values())


def parameter_rows(outline: Outline, body: str) -> Iterator[tuple[str, int]]:
    """Name and line of every row, those of a name that was there before included."""
    return ((name, row.line) for name, row, _ in _named_rows(outline, body))


def parameter_tables(outline: Outline) -> Sequence[Table]:
    """Those of the section whose first column says it names parameters; without any the section's first table."""
    section = find(outline.sections, "parameters") or find(outline.sections, "parameters", prefix=True)
    tables = outline.tables_in(section) if section else ()
    named = [table for table in tables if table.header.cells[0].text.lower().startswith(_NAME_HEADERS)]
    return named or tables[:1]


def _named_rows(outline: Outline, body: str) -> Iterator[tuple[str, Row, _Columns]]:
    used = used_names(body)
    for table in parameter_tables(outline):
        columns = _Columns.of(table.header)
        for row in table.rows:
            if name := _name(row, columns, used):
                yield name, row, columns


def _parameter(name: str, row: Row, columns: _Columns) -> Parameter:
    default = _default(row, columns)
    required, conditional = _required(row, columns, default)
    return Parameter(
        name=name,
        label=row.cells[0].text,
        description=row.cells[columns.description].text if columns.description is not None else "",
        default=settings.RESULTS if name == "results_dir" else default.value,
        required=required,
        conditional=conditional,
        kind=default.kind,
        prose=default.prose if name != "results_dir" or _is_results(default.value) else str(default.value),
        line=row.line,
    )


def _default(row: Row, columns: _Columns) -> Default:
    if columns.default is not None:
        default = read_default(row.cells[columns.default])
        if columns.names_variables and _VARIABLE.fullmatch(default.value or ""):
            return Default("prose", prose=row.cells[columns.default].text)
        return default
    return required_in_text(" ; ".join(cell.text for cell in row.cells))


def _required(row: Row, columns: _Columns, default: Default) -> tuple[bool, bool]:
    """A Required column that is not empty wins over the default cell."""
    text = row.cells[columns.required].text if columns.required is not None else ""
    if text.strip(" -–—"):
        return read_required(text)
    return default.kind == "required", default.kind == "conditional"


def _is_results(default: str | None) -> bool:
    return (default or "./results").rstrip("/") in (settings.RESULTS, "./results", "results")


def _name(row: Row, columns: _Columns, used: frozenset[str]) -> str:
    """The name a value is given under (contract §3.6); empty for an empty row.

    `{{name}}` in the variable column or the first cell, else an identifier in the first cell, else `{{name}}` in
    any cell, else the label in snake case. An identifier goes before the other cells because a description may
    mention another variable.
    """
    label = row.cells[0]
    own = [label] if columns.variable is None else [row.cells[columns.variable], label]
    return _placeholder(own) or _identifier(label, used) or _placeholder(row.cells) or _from_label(row, columns)


def _placeholder(cells: Sequence[Cell]) -> str:
    found = (p.name for cell in cells for p in placeholders(cell.text) if not p.is_secret)
    return next(found, "")


def _identifier(label: Cell, used: frozenset[str]) -> str:
    """A code span or a bare word; but a bare `Topic` is prose unless the text uses `{{Topic}}`."""
    bare = () if label.text.istitle() and "_" not in label.text and label.text not in used else (label.text,)
    return next((word for word in (*label.codes, *bare) if _IDENTIFIER.fullmatch(word)), "")


def _from_label(row: Row, columns: _Columns) -> str:
    label = re.sub(r"\([^()]*\)", " ", row.cells[0].text)
    name = re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")
    default = _default(row, columns).value
    if default is not None and _is_results(default):
        return "results_dir"
    if not name and row.cells[0].text:
        return f"parameter_{row.line}"
    return f"_{name}" if name[:1].isdigit() else name
