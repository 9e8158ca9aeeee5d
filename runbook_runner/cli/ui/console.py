"""Command line: consoles of rich, which style and lay out text that may have been written elsewhere."""

import sys
from collections.abc import Iterator
from typing import IO, TextIO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from runbook_runner.core.text import printable


def make_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Returns a console on standard output or standard error."""
    stream = sys.stderr if stderr else sys.stdout
    file = cast("IO[str]", _Styled(stream)) if hasattr(stream, "write_styled") else stream
    return _PrintableConsole(file=file, quiet=quiet, highlight=False, markup=False, emoji=False)


class _PrintableConsole(Console):
    """Replaces control characters in everything it is given to show. Its own, for styles and the cursor, stay."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


class _Styled:
    """A standard stream to which styles may be written."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self.encoding = stream.encoding

    def write(self, text: str) -> int:
        return int(self._stream.write_styled(text))  # type: ignore[attr-defined]

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()
