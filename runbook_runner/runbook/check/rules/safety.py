"""Room `runbook`, `check`: RB6xx, what must not be in a file that is shared or that a run believes."""

import re
from collections.abc import Iterator

from runbook_runner.runbook.check.rules.findings import Hit
from runbook_runner.runbook.check.rules.frontmatter import secret_line
from runbook_runner.runbook.check.rules.subject import Rule, Subject

# Most texts hold no credential: these say so quickly, and then the module that knows the patterns need not be imported.
_LITERALS = ("AIza", "AKIA", "ASIA", "glpat-", "xox", "pypi-", "eyJ", "PRIVATE KEY-----")
_RUNS = (r"sk-[A-Za-z0-9_-]{20}", r"_[A-Za-z0-9]{16}")
_EXAMPLES = r"example|your|xxx|placeholder|dummy|fake|1234567890"
# Not inside an address or a longer path; `C:\\` may be escaped, as in JSON. Text, compiled when a path may be there.
_HOST_PATH = r"(?<![\w/.~$}>*-])(?:/(?:home|Users)/[A-Za-z][\w.-]*|[A-Za-z]:\\{1,2}[A-Za-z][\w.-]+)"
_MIN_DISTINCT = 8  # characters; `sk-aaaaaaaa…` is not a real key


def credential(subject: Subject) -> Iterator[Hit]:
    """The message never holds the value, and the formats that show the line redact it."""
    for start, what in credentials_in(subject.text):
        hint = "Take it out, revoke it, and declare a secret: `{{secrets.NAME}}`."
        yield subject.at(start, f"This looks like a credential ({what}).", hint)


def credentials_in(text: str) -> Iterator[tuple[int, str]]:
    """Where each begins, and what it looks like."""
    if not any(literal in text for literal in _LITERALS) and not any(re.search(run, text) for run in _RUNS):
        return
    from runbook_runner.core.redaction.patterns import PATTERNS, matches

    taken: list[tuple[int, int]] = []
    for kind in PATTERNS:
        for match in matches(kind, text):
            if any(start < match.end() and match.start() < end for start, end in taken) or _is_example(kind, match[0]):
                continue
            taken.append(match.span())
            yield match.start(), kind.replace("-", " ")


def _is_example(kind: str, value: str) -> bool:
    """`sk-your-key-here…`, or words joined by hyphens."""
    if re.search(_EXAMPLES, value, re.IGNORECASE):
        return True
    return kind != "private-key" and (len(set(value)) < _MIN_DISTINCT or not any(map(str.isdigit, value)))


def host_path(subject: Subject) -> Iterator[Hit]:
    text = subject.text
    if "/home/" not in text and "/Users/" not in text and ":\\" not in text:
        return
    for match in re.finditer(_HOST_PATH, text):
        hint = "In the sandbox there are /app/assets for inputs and /app/results for results."
        yield subject.at(match.start(), f"`{match[0]}` is a path of one person's machine.", hint)


def secret_name(subject: Subject) -> Iterator[Hit]:
    secrets = subject.runbook.frontmatter.secrets
    if not secrets:
        return
    from runbook_runner.core.authority import steers_programs

    for secret in secrets:
        if steers_programs(secret.env):
            message = f"No secret can be named {secret.env}: programs decide by it what to load, to run or to talk to."
            yield subject.on(
                secret_line(subject, secret.name), message, "Give the variable another name.", at=secret.name
            )


RULES = (
    Rule("RB601", "credential", "error", "The file holds no credential", credential),
    Rule("RB602", "host-path", "warning", "No path is one of a person's own machine", host_path),
    Rule("RB603", "secret-name", "error", "No secret is named as what steers programs", secret_name),
)
