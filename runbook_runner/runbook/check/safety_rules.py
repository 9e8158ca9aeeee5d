"""Room `runbook`, `check`: RB6xx, what must not be in a file that is shared."""

import re
from collections.abc import Iterator
from functools import cache

from runbook_runner.runbook.check.findings import Hit, Rule
from runbook_runner.runbook.check.subject import Subject

LITERALS = (
    *("sk-", "sk_", "rk_", "AIza", "AKIA", "ASIA", "gh", "github_pat_", "glpat-", "xox", "hf_", "r8_", "npm_", "pypi-"),
    *("mlc_", "dtn_", "eyJ"),
)
"""What redaction's patterns begin with, private keys apart; a test holds the two together. Here once more because
most texts hold no credential, and then the module that knows the patterns need not be imported."""
_EXAMPLE = re.compile(r"example|your|xxx|placeholder|dummy|fake|1234567890", re.IGNORECASE)
_MIN_DISTINCT = 8  # characters; `sk-aaaaaaaa…` is nobody's key


def credential(subject: Subject) -> Iterator[Hit]:
    """The message never holds the value, and the formats that show the line redact it."""
    text = subject.text
    if "PRIVATE KEY-----" not in text and not _may_be_credential().search(text):
        return
    from runbook_runner.redaction import PATTERNS

    taken: list[tuple[int, int]] = []
    for kind, (literal, rest) in PATTERNS.items():
        for match in re.finditer(rf"(?<![A-Za-z0-9]){re.escape(literal)}{rest}", text) if literal in text else ():
            if any(start < match.end() and match.start() < end for start, end in taken) or _is_example(kind, match[0]):
                continue
            taken.append(match.span())
            what = kind.replace("-", " ")
            hint = "Take it out, revoke it, and declare a secret: `{{secrets.NAME}}`."
            yield subject.at(match.start(), f"This looks like a credential ({what}).", hint)


@cache
def _may_be_credential() -> "re.Pattern[str]":
    return re.compile(rf"(?:{'|'.join(map(re.escape, LITERALS))})[A-Za-z0-9_-]{{10}}")


def _is_example(kind: str, value: str) -> bool:
    """`sk-your-key-here…`, or words joined by hyphens."""
    if _EXAMPLE.search(value):
        return True
    return kind != "private-key" and (len(set(value)) < _MIN_DISTINCT or not any(map(str.isdigit, value)))


def host_path(subject: Subject) -> Iterator[Hit]:
    text = subject.text
    if "/home/" not in text and "/Users/" not in text and ":\\" not in text:
        return
    for match in _host_path().finditer(text):
        hint = "In the sandbox there are /app/assets for inputs and /app/results for results."
        yield subject.at(match.start(), f"`{match[0]}` is a path on somebody's own machine.", hint)


@cache
def _host_path() -> "re.Pattern[str]":
    """Not inside an address or a longer path; `C:\\\\` may be escaped, as in JSON."""
    return re.compile(r"(?<![\w/.~$}>*-])(?:/(?:home|Users)/[A-Za-z][\w.-]*|[A-Za-z]:\\{1,2}[A-Za-z][\w.-]+)")


RULES = (
    Rule("RB601", "credential", "error", "The file holds no credential", credential),
    Rule("RB602", "host-path", "warning", "No path leads to somebody's own machine", host_path),
)
