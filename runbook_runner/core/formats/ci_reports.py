"""Core, formats: what was found, as the programs around a build read it: SARIF 2.1.0, JUnit, GitHub Actions."""

import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

from runbook_runner import __version__
from runbook_runner.core.text import printable

_SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LINK_MARKS = re.compile(r"[\\\[\]]")  # escaped, they make no link (SARIF §3.11.6)
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Found(NamedTuple):
    """Something to be mended, in SARIF and as an annotation."""

    rule: str
    level: Literal["error", "warning"]
    message: str
    file: str
    line: int | None = None
    """From 1; `None`: it has no place in the file."""
    column: int | None = None
    """Characters, from 1."""


class Rule(NamedTuple):
    id: str
    name: str
    summary: str
    level: str = "error"


class Case(NamedTuple):
    name: str
    status: Literal["passed", "failure", "error", "skipped"] = "passed"
    kind: str = ""
    """Of a failure or an error."""
    message: str = ""
    text: str = ""
    """More of it, in lines."""
    seconds: float | None = None


def annotation(found: Found) -> str:
    """A command of GitHub Actions, which shows it at its line of the pull request."""
    places = {"file": found.file, "line": found.line, "col": found.column, "title": found.rule}
    told = ",".join(f"{name}={_property(str(value))}" for name, value in places.items() if value is not None)
    return f"::{found.level} {told}::{_data(printable(found.message))}\n"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def sarif(tool: str, rules: Sequence[Rule], found: Iterable[Found]) -> str:
    """One run; columns count characters. rules: at least those of what was found."""
    found = tuple(found)
    used = {one.rule for one in found}
    rules = [rule for rule in rules if rule.id in used]
    index = {rule.id: position for position, rule in enumerate(rules)}
    driver = {"name": tool, "semanticVersion": __version__, "rules": list(map(_sarif_rule, rules))}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_sarif_result(one, index[one.rule]) for one in found],
    }
    return dumped({"$schema": _SARIF_SCHEMA, "version": "2.1.0", "runs": [run]})


def _sarif_rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": rule.summary},
        "defaultConfiguration": {"level": rule.level},
    }


def _sarif_result(found: Found, index: int) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(found.file)}}
    if found.line is not None:
        column = {} if found.column is None else {"startColumn": found.column}
        place["region"] = {"startLine": found.line, **column}
    return {
        "ruleId": found.rule,
        "ruleIndex": index,
        "level": found.level,
        "message": {"text": _LINK_MARKS.sub(r"\\\g<0>", found.message)},
        "locations": [{"physicalLocation": place}],
    }


def _uri(file: str) -> str:
    """Relative when the name is; names are bytes and need not be UTF-8."""
    return ("file://" if file.startswith("/") else "") + quote(os.fsencode(file))


def junit(suite: str, cases: Sequence[Case], classname: str) -> str:
    """A file with one suite."""
    from xml.sax.saxutils import quoteattr  # slow to import

    counts = {
        "tests": len(cases),
        "failures": sum(case.status == "failure" for case in cases),
        "errors": sum(case.status == "error" for case in cases),
        "skipped": sum(case.status == "skipped" for case in cases),
    }
    counted = " ".join(f'{name}="{count}"' for name, count in counts.items())
    name = quoteattr(_xml(suite))
    body = "".join(_junit_case(case, classname) for case in cases)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<testsuites name={name} {counted}>\n<testsuite name={name} {counted}>\n{body}</testsuite>\n</testsuites>\n"
    )


def _junit_case(case: Case, classname: str) -> str:
    from xml.sax.saxutils import escape, quoteattr  # slow to import

    time = "" if case.seconds is None else f' time="{case.seconds:.3f}"'
    head = f"  <testcase classname={quoteattr(_xml(classname))} name={quoteattr(_xml(case.name))}{time}"
    if case.status == "passed":
        return f"{head}/>\n"
    kind = f" type={quoteattr(_xml(case.kind))}" if case.kind else ""
    message = f" message={quoteattr(_xml(case.message))}" if case.message else ""
    told = f"<{case.status}{kind}{message}>{escape(_xml(case.text))}</{case.status}>"
    return f"{head}>\n    {told}\n  </testcase>\n"


def _xml(text: str) -> str:
    """Without what XML 1.0 can't carry even escaped."""
    return _NOT_XML.sub("�", text)


def dumped(value: Any) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return text.encode(errors="backslashreplace").decode()  # a file's name that is not UTF-8: still JSON
