"""Command line: `runbook check`."""

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from runbook_runner.cli.author.check_files import HERE, Target, findings_in, stdin, targets_of
from runbook_runner.cli.options import REPEATED
from runbook_runner.cli.parser import Parser
from runbook_runner.cli.ui.output import put, put_styled, write_back
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.files import read_found
from runbook_runner.runbook.authoring.diff import unified
from runbook_runner.runbook.check.engine import refusal
from runbook_runner.runbook.check.fixes import fixed
from runbook_runner.runbook.check.rules import PROFILES
from runbook_runner.runbook.check.rules.findings import Finding

DESCRIPTION = """\
A finding can be silenced by `<!-- noqa: RB301 -->` on its line or the line above. Settings: [tool.runbook.check] in
pyproject.toml, or [check] in .runbook/config.toml.

Exit codes: 0 clean, 1 findings (warnings too), 2 wrong arguments or settings, 3 the checker itself failed.
"""

FORMATS = ("text", "json", "github", "sarif", "junit")
FOUND = ExitCode.VERDICT_FAIL
_CLEAN = ExitCode.PASS


def declare(parser: Parser) -> None:
    paths = "Files, folders (every RUNBOOK.md below), globs, or '-' for stdin (default: this folder)."
    parser.add_argument("paths", nargs="*", metavar="PATH", help=paths)
    what = parser.add_argument_group("What to check")
    select = "Check only these rules: RB301, or RB3 for all that begin so; may be repeated."
    what.add_argument("--select", **REPEATED, metavar="CODES", help=select)
    what.add_argument("--ignore", **REPEATED, metavar="CODES", help="Leave out these rules; may be repeated.")
    profile = (
        "auto (all our rules, and the published validator of the runbook's version), or v1 or v2 (only that validator) "
        "(default: auto, or the project's)."
    )
    what.add_argument("--profile", choices=PROFILES, metavar="PROFILE", help=profile)
    what.add_argument("--rules", action="store_true", help="Print the list of rules and check nothing.")
    output = parser.add_argument_group("Output and fixes")
    formats = "text, json, github, sarif or junit (default: text)."
    output.add_argument("--format", choices=FORMATS, default=FORMATS[0], metavar="FORMAT", help=formats)
    parser.instead["--json"] = "--format json"
    output.add_argument("--fix", action="store_true", help="Fix what can be fixed safely.")
    output.add_argument("--diff", action="store_true", help="Show what --fix would do; change nothing.")


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError for wrong paths, codes and settings."""
    gc.disable()  # the objects of a file are freed when it is done; they hold no circles
    if arguments.rules:
        return _print_rules()
    targets = targets_of(arguments.paths or ["."], arguments.profile, arguments.select, arguments.ignore)
    if arguments.fix or arguments.diff:
        return _fix(targets, arguments.format, dry=arguments.diff)
    return _report(targets, findings_in(targets), arguments.format)


def _print_rules() -> int:
    from runbook_runner.runbook.check.rules import every_rule

    for rule in every_rule():
        marks = ("fix" if rule.fixable else "   ") + ("" if rule.default else "  not in auto")
        line = f"{rule.id}  {rule.severity:<7}  {rule.name:<24} {rule.summary}  {marks}"
        sys.stdout.write(line.rstrip() + "\n")
    return _CLEAN


# --- findings --------------------------------------------------------------------------------------------------------


def _report(targets: Sequence[Target], findings: Sequence[Finding], form: str) -> int:
    if not findings and form == "text":  # the most common case needs no format at all
        put(f"{len(targets)} file{'' if len(targets) == 1 else 's'}: no findings.\n")
        return _CLEAN
    from runbook_runner.runbook.check.formats import FORMATS as WRITERS
    from runbook_runner.runbook.check.formats import Report

    has_color = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    names = tuple(target.name for target in targets)
    written = WRITERS[form](Report(names, findings, _Lines(), color=has_color))
    (put_styled if form == "text" else put)(written)
    return FOUND if findings else _CLEAN


class _Lines:
    """The lines that are shown with findings, without what looks like a secret."""

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
            raw = stdin() if file == "<stdin>" else read_found(Path(file))
        except (OSError, InputError):
            return []
        return raw.decode("utf-8", "replace").split("\n")


# --- fixes -----------------------------------------------------------------------------------------------------------


def _fix(targets: Sequence[Target], form: str, *, dry: bool) -> int:
    """dry: only shows what would change. Returns exit code 1 when something would, else when findings are left."""
    left: list[Finding] = []
    would_change = False
    for target in targets:
        try:
            before = target.read()
            after, findings = fixed(before, target.name, target.folder, target.selection, HERE)
        except InputError as error:
            left.append(refusal(error, target.name))
            continue
        left += findings
        would_change = would_change or after != before
        _put_fixed(target, before, after, dry=dry)
    if dry:
        return FOUND if would_change or any(finding.rule == "RB101" for finding in left) else _CLEAN
    if any(target.folder is None for target in targets):
        return FOUND if left else _CLEAN  # stdout has the text
    return _report(targets, left, form)


def _put_fixed(target: Target, before: bytes, after: bytes, *, dry: bool) -> None:
    if dry:
        if after != before:
            put(unified(before.decode(), after.decode(), target.name))
    elif target.folder is None:
        put(after)
    elif after != before:
        write_back(Path(target.name), after)
