"""Room `runbook`, `check`: findings as text, JSON, GitHub annotations, SARIF and JUnit.

One module-level function per format, all of one shape: a `Report` in, the text for stdout out.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from json import dumps as to_json
from typing import Any
from urllib.parse import quote

from runbook_runner import __version__
from runbook_runner.core.text import counted, printable, width
from runbook_runner.runbook.check.rules import every_rule
from runbook_runner.runbook.check.rules.findings import Finding

_INFORMATION = "https://json.schemastore.org/sarif-2.1.0.json"
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
    return _dump({"files": len(report.files), "findings": list(map(_as_json, report.findings))})


def _as_json(finding: Finding) -> dict[str, Any]:
    names = ("file", "line", "column", "rule", "severity", "message", "hint", "fixable")
    return {name: getattr(finding, name) for name in names}


def github(report: Report) -> str:
    """Workflow commands; GitHub shows each at its line of the pull request."""
    return "".join(
        f"::{finding.severity} file={_property(finding.file)},line={finding.line},col={finding.column},"
        f"title={_property(finding.rule)}::{_data(printable(_said(finding)))}\n"
        for finding in report.findings
    )


def _said(finding: Finding) -> str:
    return " ".join(filter(None, (finding.message, finding.hint)))


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def sarif(report: Report) -> str:
    """SARIF 2.1.0, one run; columns count characters."""
    used = {finding.rule for finding in report.findings}
    rules = [rule for rule in every_rule() if rule.id in used]
    driver = {
        "name": "runbook check",
        "semanticVersion": __version__,
        "rules": [
            {
                "id": rule.id,
                "name": rule.name,
                "shortDescription": {"text": rule.summary},
                "defaultConfiguration": {"level": rule.severity},
            }
            for rule in rules
        ],
    }
    index = {rule.id: position for position, rule in enumerate(rules)}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, index) for finding in report.findings],
    }
    return _dump({"$schema": _INFORMATION, "version": "2.1.0", "runs": [run]})


def _result(finding: Finding, index: Mapping[str, int]) -> dict[str, Any]:
    region = {"startLine": finding.line, "startColumn": finding.column}
    place = {"artifactLocation": {"uri": _uri(finding.file)}, "region": region}
    return {
        "ruleId": finding.rule,
        "ruleIndex": index[finding.rule],
        "level": finding.severity,
        "message": {"text": _said(finding)},
        "locations": [{"physicalLocation": place}],
    }


def _uri(file: str) -> str:
    """Relative when the name is; names are bytes and need not be UTF-8."""
    return ("file://" if file.startswith("/") else "") + quote(os.fsencode(file))


def junit(report: Report) -> str:
    """One test case per file; a file with findings is a failure that lists them."""
    from xml.sax.saxutils import quoteattr  # slow to import

    by_file: dict[str, list[Finding]] = {file: [] for file in report.files}
    for finding in report.findings:
        by_file.setdefault(finding.file, []).append(finding)
    failures = sum(map(bool, by_file.values()))
    cases = "".join(_case(quoteattr(_xml(file)), findings) for file, findings in by_file.items())
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<testsuites name="runbook check" tests="{len(by_file)}" failures="{failures}">\n'
        f'<testsuite name="runbook check" tests="{len(by_file)}" failures="{failures}" errors="0">\n'
        f"{cases}</testsuite>\n</testsuites>\n"
    )


def _case(name: str, findings: Sequence[Finding]) -> str:
    from xml.sax.saxutils import escape, quoteattr  # slow to import

    head = f'  <testcase classname="runbook check" name={name}'
    if not findings:
        return head + "/>\n"
    errors = sum(finding.severity == "error" for finding in findings)
    message = f"{counted(errors, 'error')}, {counted(len(findings) - errors, 'warning')}"
    kind = findings[0].severity if errors == 0 else "error"
    lines = "".join(f"{f.file}:{f.line}:{f.column}: {f.severity}: {f.message} [{f.rule}]\n" for f in findings)
    failure = f"<failure type={quoteattr(kind)} message={quoteattr(message)}>{escape(_xml(lines))}</failure>"
    return f"{head}>\n    {failure}\n  </testcase>\n"


def _xml(text: str) -> str:
    """Without what XML 1.0 can't carry even escaped."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "�", text)


def _dump(value: Any) -> str:
    text = to_json(value, indent=2, ensure_ascii=False) + "\n"
    return text.encode(errors="backslashreplace").decode()  # a file's name that is not UTF-8: still JSON


FORMATS: Mapping[str, Callable[[Report], str]] = {
    "text": text,
    "json": json,
    "github": github,
    "sarif": sarif,
    "junit": junit,
}
