"""Command line: shows where long work is, outside of a run: an image that is built, a bundle that is made."""

from rich.console import Console
from rich.text import Text

from runbook_runner.core.text import printable_name, printable_output


class Progress:
    """A `Report` in a block. Of details a terminal shows the latest, on a line that goes with the block."""

    def __init__(self, console: Console):
        self._console = console
        self._latest = console.status("")

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._latest.stop()

    def __call__(self, line: str, *, detail: bool = False) -> None:
        if not detail:
            self._console.print(Text(f"  {printable_output(line)}", style="dim"), soft_wrap=True)
        elif self._console.file.isatty():
            self._latest.update(Text(printable_name(line), style="dim", no_wrap=True, overflow="ellipsis"))
            self._latest.start()
