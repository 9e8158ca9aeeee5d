"""Command line: shows a watch session: what was saved, what is wrong with it, each run, and what a recording saved."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.filesize import decimal
from rich.text import Text

from runbook_runner.cli.author.check_files import findings_in, forget, targets_of
from runbook_runner.cli.ui.display import Display, print_summary
from runbook_runner.cli.ui.follow import Followed, Seen, print_briefly
from runbook_runner.cli.ui.output import warn
from runbook_runner.core.errors import InputError, RunbookError
from runbook_runner.core.text import counted, printable_name, printable_output
from runbook_runner.runbook.check.engine import refusal
from runbook_runner.runbook.check.rules.findings import Finding
from runbook_runner.runner import PreparedRun
from runbook_runner.runner.cancellation import Cancellation
from runbook_runner.runner.watch.contents import Change
from runbook_runner.runner.watch.edge import OnBusy, Repeated
from runbook_runner.runner.watch.parts import lines_of_change, parts_of
from runbook_runner.runner.watch.recordings import Saved
from runbook_runner.trajectory.recorder import Reader

if TYPE_CHECKING:
    from rich.console import Console

_MOST_CHANGES: Final = 5
_MOST_LINES: Final = 12
_MOST_FINDINGS: Final = 10
_KEYS: Final = "Keys: r run · f all anew · c only check · d diff · o open · h keys · q quit."
_NO_KEYS: Final = "There are no keys, for stdin is not a terminal; Ctrl-C ends it."


class Watching:
    """The `Edge` of a session on a terminal, or on a pipe. console: `None` shows errors only."""

    def __init__(self, document: Path, console: "Console | None", *, has_keys: bool):
        self.document, self._console = document, console
        self._has_keys, self._told = has_keys, False
        self._display: Display | None = None
        self._seen = Seen()
        """Of the last run."""
        self.folders: list[Path] = []
        """The trajectory folders of the runs, the last one last."""

    # --- as an edge --------------------------------------------------------------------------------------------------

    def changed(self, changes: Sequence[Change]) -> None:
        for change in changes[:_MOST_CHANGES]:
            parts = parts_of(change) if change.path == self.document else ()
            what = f": {', '.join(parts)}" if parts else ""
            size = "" if change.kind == "gone" else f" ({decimal(change.size)})"
            self._print(f"↻ {self._named(change.path)} is {change.kind}{size}{what}", "bold cyan")
            for line in lines_of_change(change, _MOST_LINES):
                self._print(f"    {line}", "green" if line.startswith("+") else "red" if line[:1] == "-" else "dim")
        if len(changes) > _MOST_CHANGES:
            self._print(f"↻ and {counted(len(changes) - _MOST_CHANGES, 'more file')}", "bold cyan")

    def checked(self) -> bool:
        forget()
        try:
            found: Sequence[Finding] = findings_in(targets_of([str(self.document)], None, (), ()))
        except InputError as error:
            found = [refusal(error, str(self.document))]
        errors = [finding for finding in found if finding.severity == "error"]
        for finding in [*errors, *(one for one in found if one not in errors)][:_MOST_FINDINGS]:
            self._find(finding)
        if len(found) > _MOST_FINDINGS:
            self._print(f"… {counted(len(found) - _MOST_FINDINGS, 'more finding')}: see `runbook check`.", "yellow")
        if not found:
            self._print("✓ check: no findings", "green")
        return not errors

    def refused(self, error: RunbookError) -> None:
        for warning in error.warnings:
            self.warn(warning)
        self._error(str(error))

    def busy(self, on_busy: OnBusy) -> None:
        told = {
            "cancel": "The run under way is cancelled; the next one follows.",
            "queue": "The next run follows when the one under way is over.",
        }
        self._print(f"  {told[on_busy]}", "dim")

    @contextmanager
    def running(self, prepared: PreparedRun, cancellation: Cancellation) -> Iterator[Sequence[Reader]]:
        self._seen = seen = Seen()
        if self._console is None:
            yield (seen,)
            return
        with Display(self._console, cancellation) as self._display:
            yield seen, self._display

    def ended(self, repeated: Repeated) -> None:
        if repeated.outcome is None:
            if isinstance(repeated.error, RunbookError):
                self.refused(repeated.error)
            return
        followed = Followed(repeated.prepared, repeated.outcome, self._seen)
        self.folders.append(repeated.outcome.folder)
        if self._console is None:
            print_briefly(followed, followed.problem())
            return
        files, notes = followed.seen.headline_first(), followed.seen.notes
        outcome = repeated.outcome
        print_summary(self._console, outcome.trajectory, followed.problems, files, notes, outcome.folder)
        if outcome.not_copied:
            self._error(str(outcome.not_copied))
        for line in saved_lines(repeated.saved):
            self._print(f"  {line}", "cyan")

    def waits(self, *, check_only: bool) -> None:
        what = "checks it, and runs nothing" if check_only else "checks and runs it"
        keys = "c ends that, h shows the keys" if check_only else "h shows the keys"
        more = f"; {keys}" if self._has_keys and self._told else ""
        self._print(f"Watching {self._named(self.document)}: a save {what}{more}.", "dim")
        if not self._told:
            self.say_keys()

    def say_keys(self) -> None:
        self._print(_KEYS if self._has_keys else _NO_KEYS, "dim")
        self._told = True

    def warn(self, message: str) -> None:
        if self._console is None:
            warn(printable_output(message))
        else:
            self._print(f"! {printable_output(message)}", "yellow")

    # --- further -----------------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        self._print(text, "yellow")

    def close(self) -> None:
        """For the end without an order: takes the status line away."""
        if self._display:
            self._display.close()

    def _named(self, path: Path) -> str:
        """As seen from the current folder, when it is in it."""
        here = Path.cwd()
        return printable_name(str(path.relative_to(here) if path.is_relative_to(here) else path))

    def _find(self, finding: Finding) -> None:
        text = f"{self._named(Path(finding.file))}:{finding.line}:{finding.column}: {finding.severity}: "
        text = f"{text}{printable_output(finding.message)} [{finding.rule}]"
        if finding.severity == "error":
            self._error(text, mark="✗ ")
        else:
            self._print(f"! {text}", "yellow")
        if finding.hint:
            self._print(f"    {printable_output(finding.hint)}", "dim")

    def _error(self, text: str, mark: str = "error: ") -> None:
        if self._console is None:
            sys.stderr.write(f"error: {printable_output(text)}\n")
        else:
            self._print(f"{mark}{printable_output(text)}", "red")

    def _print(self, text: str, style: str) -> None:
        if self._console is not None:
            self._console.print(Text(text, style=style), soft_wrap=True)


def saved_lines(saved: Saved) -> Iterator[str]:
    """What the recording answered and what that saved; from which call on the model was asked, and why."""
    if saved.replayed_calls:
        told = f"Replayed {saved.replayed_calls} of {counted(saved.calls, 'model call')}"
        yield f"{told}: saved {_spent(saved.tokens, saved.cost_usd)}."
    if saved.first_asked is not None:
        told = f"from call {saved.first_asked} on" if saved.replayed_calls else "for every model call"
        yield f"Asked anew {told}: {_spent(saved.asked_tokens, saved.asked_cost_usd)}.{_why(saved)}"


def _spent(tokens: int, cost_usd: float | None) -> str:
    return counted(tokens, "token") + ("" if cost_usd is None else f" and ${cost_usd:.4f}")


def _why(saved: Saved) -> str:
    """How that call differs, in few words."""
    if saved.changed is None:
        return ""
    line = f", line {saved.changed.line}" if saved.changed.line else ""
    return f" It differs in {printable_output(saved.changed.path)}{line} ({saved.changed.origin})."
