"""Runner, optimize: texts of recorded runs, made safe for a runbook: an agent may have written them to be obeyed."""

from typing import Final

from runbook_runner.core.text import printable_output
from runbook_runner.runbook.parts.sections import BANNER

LONGEST: Final = 160  # characters
_NOT_THERE: Final = (
    ("`", "'"),
    ("{{", "{ {"),
    ("}}", "} }"),
    ("{TODO", "{ TODO"),
    ("<!--", "< !--"),
    (BANNER, BANNER.lower()),
)
"""What ends a code span, is a placeholder of a runbook, or is read from its source as it stands."""


def one_line(text: str, most: int = LONGEST) -> str:
    """Printable, on one line, bounded."""
    line = " ".join(printable_output(text[: 20 * most]).split())
    return line if len(line) <= most else f"{line[:most]}…"


def quoted(text: str, most: int = LONGEST) -> str:
    """A code span that nothing in the text ends, and in which nothing is a heading, a link or a parameter."""
    line = one_line(text, most)
    for mark, instead in _NOT_THERE:
        while mark in line:
            line = line.replace(mark, instead)
    return f"`{line.strip()}`" if line.strip() else "(no text)"
