"""Room `runbook`: one Markdown table, written with its columns in line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from runbook_runner.core.text import width

MAX_WIDTH = 120
"""A table wider than this when padded is written with single spaces instead."""

_RULE = re.compile(r"[ \t]*(:?)-+(:?)[ \t]*")


@dataclass(frozen=True)
class _Grid:
    header: list[str]
    rules: list[tuple[bool, bool]]
    """Per column: is there a colon on the left, on the right."""
    rows: list[list[str]]


def align(lines: Sequence[str]) -> list[str] | None:
    """The table's lines with padded columns; `None` when they can't be split safely.

    lines: header, rule, rows, without line ends; all with the same indentation, which stays.
    """
    indent = lines[0][: len(lines[0]) - len(lines[0].lstrip(" "))]
    if any(not line.startswith(indent) or "\r" in line or "\t" in line[: len(indent) + 1] for line in lines):
        return None
    grid = _grid([line[len(indent) :] for line in lines])
    if grid is None:
        return None
    widths = _widths(grid)
    is_wide = len(indent) + sum(widths) + 3 * len(widths) + 1 > MAX_WIDTH
    new = [indent + line for line in (_compact(grid) if is_wide else _padded(grid, widths))]
    return [lines[index] if _is_surplus(grid, index - 2) else line for index, line in enumerate(new)]


def _is_surplus(grid: _Grid, row: int) -> bool:
    """A row with more cells than the header stays: one of its bars is text, and only the author knows which."""
    return row >= 0 and len(grid.rows[row]) > len(grid.header)


def _grid(lines: list[str]) -> _Grid | None:
    header = _cells(lines[0])
    rules = [_RULE.fullmatch(cell) for cell in _cells(lines[1], trim=False)]
    if len(rules) != len(header) or not all(rules):
        return None
    rows = [_cells(line) for line in lines[2:]]
    sides = [(bool(rule[1]), bool(rule[2])) for rule in rules if rule]
    return _Grid(header, sides, [row + [""] * (len(header) - len(row)) for row in rows])


def _cells(line: str, *, trim: bool = True) -> list[str]:
    """Split at pipes; a backslash takes the next character with it."""
    text = line.strip(" \t")
    cells, start, index = [], 1 if text.startswith("|") else 0, 0
    index = start
    while index < len(text):
        if text[index] == "\\":
            index += 1
        elif text[index] == "|":
            cells.append(text[start:index])
            start = index + 1
        index += 1
    if start < len(text):
        cells.append(text[start:])
    return [cell.strip(" \t") for cell in cells] if trim else cells


def _widths(grid: _Grid) -> list[int]:
    """Of each column, in terminal cells."""
    rows = [grid.header, *(row for row in grid.rows if len(row) == len(grid.header))]
    return [max(3, *(width(row[column]) for row in rows)) for column in range(len(grid.header))]


def _padded(grid: _Grid, widths: list[int]) -> list[str]:
    rules = [_rule(sides, wide + 2) for sides, wide in zip(grid.rules, widths, strict=True)]
    rows = [_row(row, widths) for row in grid.rows]
    return [_row(grid.header, widths), f"|{'|'.join(rules)}|", *rows]


def _compact(grid: _Grid) -> list[str]:
    rules = [_rule(sides, 3) for sides in grid.rules]
    return [_row(grid.header, []), f"|{'|'.join(rules)}|", *(_row(row, []) for row in grid.rows)]


def _rule(sides: tuple[bool, bool], wide: int) -> str:
    left, right = (":" if side else "" for side in sides)
    return left + "-" * (wide - len(left) - len(right)) + right


def _row(cells: list[str], widths: list[int]) -> str:
    padding = [*widths, *[0] * (len(cells) - len(widths))]  # none at all in a compact table
    padded = (cell + " " * max(0, wide - width(cell)) for cell, wide in zip(cells, padding, strict=True))
    return f"| {' | '.join(padded)} |"
