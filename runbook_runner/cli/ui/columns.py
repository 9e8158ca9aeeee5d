"""Command line: tables of plain columns, for lists that must start fast: rich is not imported."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from runbook_runner.cli.ui.output import put_styled
from runbook_runner.core.text import printable_name, width

STYLES: Final[Mapping[str, str]] = {"good": "32", "bad": "31", "busy": "33", "faint": "2", "head": "1"}
_GAP = "  "
_LEAST = 10


@dataclass(frozen=True)
class Column:
    title: str
    rank: int = 0
    """Columns of a higher rank go first where the terminal is narrow; rank 0 stays."""
    right: bool = False
    shrinks: bool = False
    """What has no room is cut off; elsewhere nothing is."""


def print_columns(columns: Sequence[Column], rows: Sequence[Sequence[str]], styles: Sequence[str | None] = ()) -> None:
    """styles: for each row, a name in STYLES or none. Off a terminal every column is there, in full."""
    is_terminal = sys.stdout.isatty()
    room = shutil.get_terminal_size((80, 24)).columns if is_terminal or "COLUMNS" in os.environ else None
    cells = [[printable_name(cell) for cell in row] for row in rows]
    wide = [max([width(column.title), *(width(row[place]) for row in cells)]) for place, column in enumerate(columns)]
    shown = list(range(len(columns)))
    while room and _total(wide, shown, columns, least=True) > room and any(columns[place].rank for place in shown):
        shown.remove(max(shown, key=lambda place: columns[place].rank))
    for place in shown:
        if room and columns[place].shrinks and (over := _total(wide, shown, columns) - room) > 0:
            wide[place] = max(_LEAST, wide[place] - over)
    styled = is_terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    lines = [_line([column.title for column in columns], columns, wide, shown, "head" if styled else None)]
    for number, row in enumerate(cells):
        style = styles[number] if styled and number < len(styles) else None
        lines.append(_line(row, columns, wide, shown, style))
    put_styled("".join(f"{line}\n" for line in lines))


def _total(wide: Sequence[int], shown: Sequence[int], columns: Sequence[Column], *, least: bool = False) -> int:
    sizes = (min(wide[place], _LEAST) if least and columns[place].shrinks else wide[place] for place in shown)
    return sum(sizes) + len(_GAP) * (len(shown) - 1)


def _line(
    row: Sequence[str], columns: Sequence[Column], wide: Sequence[int], shown: Sequence[int], style: str | None
) -> str:
    parts = []
    for place in shown:
        text = _cut(row[place], wide[place])
        space = " " * (wide[place] - width(text))
        parts.append(space + text if columns[place].right else text + space)
    line = _GAP.join(parts).rstrip()
    return f"\x1b[{STYLES[style]}m{line}\x1b[0m" if style else line


def _cut(text: str, most: int) -> str:
    if width(text) <= most:
        return text
    while text and width(text) > most - 1:
        text = text[:-1]
    return f"{text}…"
