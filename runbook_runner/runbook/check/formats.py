"""Room `runbook`, `check`: findings as text, JSON, GitHub annotations, SARIF and JUnit.

One module-level function per format, all of one shape: a `Report` in, the text for stdout out.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runbook_runner.core.formats import ci_reports
from runbook_runner.core.formats.ci_reports import Case, Found, Rule
from runbook_runner.core.text import counted, printable, width
from runbook_runner.runbook.check.rules import every_rule
from runbook_runner.runbook.check.rules.findings import Finding

_TOOL = "runbook check"
_RED, _YELLOW, _DIM, _BOLD, _OFF = "\x1b[31m", "\x1b[33m", "\x1b[2m", "\x1b[1m", "\x1b[0m"
_WIDEST = 160  # of a line that is shown


@dataclass(frozen=True)
class Report:
    files: tuple[str, ...]
    """Every file that was looked at."""
    findings: Sequence[Finding]
    line: Callable[[str, int], str]
    """A file's line, without its end; asked only for what is shown."""
    color: bool = False


def text(report: Report) -> str:
    """`file:line:column: message [rule]`, the line with a caret, the hint; a count at the end."""
    paint = _painted if report.color else _plain
    shown = "".join(_in_text(report, finding, paint) for finding in report.findings)
    return shown + paint(_DIM, _summary(report)) + "\n"


def _summary(report: Report) -> str:
    errors = sum(finding.severity == "error" for finding in report.findings)
    warnings = len(report.findings) - errors
    fixable = sum(finding.fixable for finding in report.findings)
    files = counted(len(report.files), "file")
    if not report.findings:
        return f"{files}: no findings."
    fixable_text = f" {fixable} can be fixed with --fix." if fixable else ""
    return f"{files}: {counted(errors, 'error')}, {counted(warnings, 'warning')}.{fixable_text}"


def _in_text(report: Report, finding: Finding, paint: Callable[[str, str], str]) -> str:
    color = _RED if finding.severity == "error" else _YELLOW
    place = f"{_safe(finding.file)}:{finding.line}:{finding.column}:"
    head = f"{paint(_BOLD, place)} {paint(color, finding.severity)}: {_safe(finding.message)} [{finding.rule}]\n"
    return head + _excerpt(report, finding, paint) + "".join(paint(_DIM, line) for line in _hint(finding))


def _hint(finding: Finding) -> Iterator[str]:
    """That of RB101, which quotes nothing from the file, may end in lines to be copied."""
    first, *copied = (finding.rule == "RB101" and finding.hint.splitlines()) or [finding.hint]
    if first:
        yield f"      = {_safe(first)}\n"
    yield from (f"{line}\n" for line in copied)


def _excerpt(report: Report, finding: Finding, paint: Callable[[str, str], str]) -> str:
    line = report.line(finding.file, finding.line)
    if not line.strip():
        return ""
    first = max(0, finding.column - _WIDEST // 2) if len(line) > _WIDEST else 0
    cut = _safe(line[first : first + _WIDEST].replace("\t", " "))
    caret = " " * width(cut[: finding.column - 1 - first]) + paint(_BOLD, "^")
    return f"{paint(_DIM, f'{finding.line:>5} |')} {cut}\n{paint(_DIM, '      |')} {caret}\n"


def _painted(color: str, text: str) -> str:
    return f"{color}{text}{_OFF}"


def _plain(color: str, text: str) -> str:
    return text


def _safe(text: str) -> str:
    """A runbook must not move the cursor or end the line."""
    return printable(text).replace("\n", " ")


def json(report: Report) -> str:
    return ci_reports.dumped({"files": len(report.files), "findings": list(map(_as_json, report.findings))})


def _as_json(finding: Finding) -> dict[str, Any]:
    names = ("file", "line", "column", "rule", "severity", "message", "hint", "fixable")
    return {name: getattr(finding, name) for name in names}


def github(report: Report) -> str:
    return "".join(map(ci_reports.annotation, _found(report)))


def sarif(report: Report) -> str:
    rules = [Rule(rule.id, rule.name, rule.summary, rule.severity) for rule in every_rule()]
    return ci_reports.sarif(_TOOL, rules, _found(report))


def _found(report: Report) -> Iterator[Found]:
    for finding in report.findings:
        said = " ".join(filter(None, (finding.message, finding.hint)))
        yield Found(finding.rule, finding.severity, said, finding.file, finding.line, finding.column)


def junit(report: Report) -> str:
    """One test case per file; a file with findings is a failure that lists them."""
    by_file: dict[str, list[Finding]] = {file: [] for file in report.files}
    for finding in report.findings:
        by_file.setdefault(finding.file, []).append(finding)
    return ci_reports.junit(_TOOL, [_case(file, findings) for file, findings in by_file.items()], _TOOL)


def _case(file: str, findings: Sequence[Finding]) -> Case:
    if not findings:
        return Case(file)
    errors = sum(finding.severity == "error" for finding in findings)
    message = f"{counted(errors, 'error')}, {counted(len(findings) - errors, 'warning')}"
    kind = findings[0].severity if errors == 0 else "error"
    lines = "".join(f"{f.file}:{f.line}:{f.column}: {f.severity}: {f.message} [{f.rule}]\n" for f in findings)
    return Case(file, "failure", kind, message, lines)


FORMATS: Mapping[str, Callable[[Report], str]] = {
    "text": text,
    "json": json,
    "github": github,
    "sarif": sarif,
    "junit": junit,
}
