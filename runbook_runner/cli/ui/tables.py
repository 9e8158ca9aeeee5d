"""Command line: tables on terminals that are too narrow for them."""

from rich.table import Table

from runbook_runner.cli.ui.console import make_console

_UNBOUNDED = 10_000  # a measure never says more than the width it is taken for


def print_table(table: Table) -> None:
    """Columns that must not be wrapped keep their width: where the terminal has no room for them, it breaks the lines,
    and nothing is cut off."""
    console = make_console()
    for column in table.columns:
        if column.no_wrap:
            column.min_width = max(console.measure(cell).maximum for cell in (column.header, *column.cells))
    needed = console.measure(table, options=console.options.update_width(_UNBOUNDED)).minimum
    console.width = max(console.width, needed)
    console.print(table)
