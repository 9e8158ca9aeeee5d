"""Room `runbook`: the status table of a programmatic runbook (contract §3.8): what PASS, PARTIAL and FAIL mean."""

from runbook_runner.core.criteria import Status
from runbook_runner.runbook.markdown.blocks import Outline
from runbook_runner.runbook.markdown.tables import Table

_KNOWN = frozenset({"pass", "partial", "fail"})


def read_statuses(outline: Outline) -> tuple[Status, ...]:
    """The rows of the first table whose first column is `Status` and names at least one of PASS, PARTIAL and FAIL."""
    table = next(filter(_is_status_table, outline.tables), None)
    if table is None:
        return ()
    return tuple(Status(row.cells[0].text, row.cells[1].text, row.line) for row in table.rows if row.cells[0].text)


def _is_status_table(table: Table) -> bool:
    if len(table.header.cells) < 2 or not table.header.cells[0].text.lower().startswith("status"):
        return False
    return any(_word(row.cells[0].text) in _KNOWN for row in table.rows)


def _word(text: str) -> str:
    """`✅ PASS` → `pass`."""
    return "".join(letter for letter in text.lower() if letter.isalpha())
