"""Command line: what `runbook check` does: arguments → files → findings → a format, or mended files."""

import gc
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.runbook.check.config import Config, config_for
from runbook_runner.runbook.check.files import files
from runbook_runner.runbook.check.rules import PROFILES, Profile, Selection, codes
from runbook_runner.runbook.check.rules.findings import Finding
from runbook_runner.runbook.sources.load import STDIN, read_bounded, read_stdin

FORMATS = ("text", "json", "github", "sarif", "junit")
FOUND = ExitCode.VERDICT_FAIL
_CLEAN = ExitCode.PASS


class Arguments(NamedTuple):
    """The command line as typed; the options' meaning is in `runbook check --help`."""

    paths: tuple[str, ...] = ()
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    profile: str | None = None
    format: str = "text"
    fix: bool = False
    diff: bool = False
    rules: bool = False


class Target(NamedTuple):
    name: str
    """As findings call it: the path as given, or `<stdin>`."""
    folder: Path | None
    selection: Selection


def execute(arguments: Arguments) -> int:
    """The exit code: 0 clean, 1 findings. Raises InputError for what is wrong with the arguments or the settings."""
    gc.disable()  # what is made here ends with its file, and holds no circles
    if arguments.rules:
        return _list_rules()
    if arguments.format not in FORMATS:
        raise InputError(f"There is no format {arguments.format!r}.", hint=f"There are {', '.join(FORMATS)}.")
    if arguments.profile not in (None, *PROFILES):
        raise InputError(f"There is no profile {arguments.profile!r}.", hint=f"There are {', '.join(PROFILES)}.")
    select, ignore = codes(",".join(arguments.select)), codes(",".join(arguments.ignore))
    targets = [_target(path, arguments.profile, select, ignore) for path in files(arguments.paths or ["."])]
    if arguments.fix or arguments.diff:
        from runbook_runner.cli.check_fixing import fix

        return fix(targets, arguments)
    from runbook_runner.cli.check_many import findings_in

    return report(targets, findings_in(targets), arguments.format)


def _target(path: str, profile: str | None, select: tuple[str, ...], ignore: tuple[str, ...]) -> Target:
    """What is said on the command line replaces what the project says."""
    folder = Path.cwd() if path == STDIN else Path(os.path.abspath(path)).parent  # noqa: PTH100 - links stay links
    config = config_for(folder)
    selection = Selection(
        profile=_profile(profile, config),
        select=select or config.select,
        ignore=(ignore or config.ignore) + config.ignored_in(os.path.abspath(path)),  # noqa: PTH100
    )
    return Target("<stdin>", None, selection) if path == STDIN else Target(path, folder, selection)


def _profile(asked: str | None, config: Config) -> Profile:
    chosen = next((name for name in PROFILES if name == asked), None)
    return chosen or config.profile or "auto"


def read(target: Target) -> bytes:
    """Raises InputError when it can't be read or is too large."""
    return read_bounded(Path(target.name)) if target.folder is not None else _stdin()


@cache
def _stdin() -> bytes:
    return read_stdin()


def report(targets: Sequence[Target], findings: Sequence[Finding], name: str) -> int:
    """Writes the findings down and gives the exit code."""
    if not findings and name == "text":  # the most common case needs no format at all
        print_line(f"{len(targets)} file{'' if len(targets) == 1 else 's'}: all is well.")
        return _CLEAN
    from runbook_runner.cli.documents import put
    from runbook_runner.runbook.check.formats import FORMATS as WRITERS
    from runbook_runner.runbook.check.formats import Report

    has_color = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    lines = _Lines()
    out = WRITERS[name](Report(tuple(target.name for target in targets), findings, lines, color=has_color))
    put(out)
    return FOUND if findings else _CLEAN


def print_line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class _Lines:
    """The lines that are shown, with what looks like a credential taken out."""

    def __init__(self) -> None:
        from runbook_runner.core.redaction import Redactor

        self._redactor = Redactor({})
        self._texts: dict[str, list[str]] = {}

    def __call__(self, file: str, number: int) -> str:
        if file not in self._texts:
            self._texts = {file: self._read(file)}  # findings come file by file
        lines = self._texts[file]
        line = lines[number - 1].rstrip("\r") if number <= len(lines) else ""
        return self._redactor.clean(line)

    def _read(self, file: str) -> list[str]:
        try:
            raw = _stdin() if file == "<stdin>" else Path(file).read_bytes()
        except (OSError, InputError):
            return []
        return raw.decode("utf-8", "replace").split("\n")


def _list_rules() -> int:
    from runbook_runner.runbook.check.rules import every_rule

    for rule in every_rule():
        marks = ("fix" if rule.fixable else "   ") + ("" if rule.default else "  not in auto")
        print_line(f"{rule.id}  {rule.severity:<7}  {rule.name:<24} {rule.summary}  {marks}".rstrip())
    return _CLEAN
