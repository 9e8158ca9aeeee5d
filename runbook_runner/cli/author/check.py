"""Command line: `runbook check`."""

import gc
import os
import sys
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import typer

from runbook_runner.agents.built_in import BUILT_IN_AGENTS
from runbook_runner.agents.registry import find_facts, infer_agent, known_agents
from runbook_runner.cli.ui.output import put
from runbook_runner.core.agent_facts import AgentFacts
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.files import rewrite
from runbook_runner.runbook.authoring.diff import unified
from runbook_runner.runbook.check.config import Config, config_for
from runbook_runner.runbook.check.engine import refusal
from runbook_runner.runbook.check.files import files
from runbook_runner.runbook.check.fixes import fixed
from runbook_runner.runbook.check.rules import PROFILES, Profile, Selection, codes
from runbook_runner.runbook.check.rules.findings import Finding
from runbook_runner.runbook.check.rules.known_names import Near, Surroundings
from runbook_runner.runbook.sources.load import STDIN, read_bounded, read_stdin

_WHAT, _OUTPUT = "What to check", "Output and fixes"


def check(
    paths: list[str] = typer.Argument(
        None, metavar="[PATH]...", help="Files, folders (every RUNBOOK.md below), globs, or '-' for stdin; else here."
    ),
    select: list[str] = typer.Option(
        [], metavar="CODES", rich_help_panel=_WHAT, help="Only these rules: RB301, or RB3 for all of a hundred."
    ),
    ignore: list[str] = typer.Option([], metavar="CODES", rich_help_panel=_WHAT, help="Not these rules."),
    profile: str | None = typer.Option(
        None,
        rich_help_panel=_WHAT,
        help="auto (all our rules, and the published validator that fits), or v1 or v2: just that validator.",
    ),
    rules: bool = typer.Option(False, "--rules", rich_help_panel=_WHAT, help="List the rules and leave."),
    format_: str = typer.Option(
        "text", "--format", rich_help_panel=_OUTPUT, help="text, json, github, sarif or junit."
    ),
    fix: bool = typer.Option(False, "--fix", rich_help_panel=_OUTPUT, help="Mend what can be mended safely."),
    diff: bool = typer.Option(
        False, "--diff", rich_help_panel=_OUTPUT, help="Show what --fix would do, change nothing."
    ),
) -> None:
    r"""Check runbooks, offline and at once.

    A finding can be silenced by `<!-- noqa: RB301 -->` on its line or the line above. Settings: \[tool.runbook.check]
    in pyproject.toml, or \[check] in .runbook/config.toml.

    Exit codes: 0 clean, 1 findings (warnings too), 2 wrong arguments or settings, 3 the checker itself failed.
    """
    arguments = Arguments(
        paths=tuple(paths or ()),
        select=tuple(select),
        ignore=tuple(ignore),
        profile=profile,
        format=format_,
        fix=fix,
        diff=diff,
        rules=rules,
    )
    raise typer.Exit(execute(arguments))


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
        return fix(targets, arguments)
    from runbook_runner.cli.author.check_parallel import findings_in

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
    from runbook_runner.cli.ui.output import put
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


@cache
def _agents(near: Near) -> Collection[str]:
    return known_agents(_folders(near))


@cache
def _find_agent(name: str, near: Near) -> AgentFacts | None:
    try:
        return find_facts(name, () if name in BUILT_IN_AGENTS else _folders(near))
    except InputError:  # a rule says that the agent is unknown, a run says what is wrong with its file
        return None


@cache
def _infer_agent(model: str | None, near: Near) -> AgentFacts | None:
    return infer_agent(model, _folders(near))


@cache
def _snapshots(near: Near) -> Collection[str]:
    from runbook_runner.sandbox.images.snapshots import known_snapshots

    return known_snapshots(_folders(near))


@cache
def _providers(_near: Near) -> Collection[str]:
    from runbook_runner.gateway.providers.configure import known_providers

    return known_providers()


def _folders(near: Near) -> tuple[Path, ...]:
    """As a run looks: from the runbook upwards, then from here."""
    return (*([near] if near else []), Path.cwd())


HERE = Surroundings(tuple(BUILT_IN_AGENTS), _agents, _find_agent, _infer_agent, _snapshots, _providers)


def fix(targets: Sequence[Target], arguments: Arguments) -> int:
    """The exit code: with --diff 1 when there is something to fix, else 1 when something is left after the fixes."""
    left: list[Finding] = []
    differs = False
    for target in targets:
        try:
            raw = read(target)
            mended, findings = fixed(raw, target.name, target.folder, target.selection, HERE)
        except InputError as error:
            left.append(refusal(error, target.name))
            continue
        left += findings
        differs = differs or mended != raw
        _deliver(target, raw, mended, arguments)
    if arguments.diff:
        return FOUND if differs or any(finding.rule == "RB101" for finding in left) else ExitCode.PASS
    if any(target.folder is None for target in targets):
        return FOUND if left else ExitCode.PASS  # stdout carries the text
    return report(targets, left, arguments.format)


def _deliver(target: Target, raw: bytes, mended: bytes, arguments: Arguments) -> None:
    if arguments.diff:
        if mended != raw:
            put(unified(raw.decode(), mended.decode(), target.name))
    elif target.folder is None:
        put(mended)
    elif mended != raw:
        _write(Path(target.name), mended)


def _write(path: Path, mended: bytes) -> None:
    try:
        rewrite(path, mended)
    except OSError as error:
        raise InputError(f"The file can't be written: {error.strerror}.", where=str(path)) from error
