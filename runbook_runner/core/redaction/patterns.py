"""Core, redaction: the formats of keys that providers publish or that secret scanners use. All in linear time.

Each begins with a literal that is looked for first: most text holds none, and a substring test is a thousand times
faster than an alternation. Special cases stand before general ones. Tool-use ids and thinking signatures do not match.
"""

import re
import string
from collections.abc import Iterator
from typing import Final

_JWT_PART: Final = r"[A-Za-z0-9_-]{10,}+"

PATTERNS: Final[dict[str, tuple[str, str]]] = {
    "anthropic-key": ("sk-ant-", r"[A-Za-z0-9_-]{20,}+"),
    "openrouter-key": ("sk-or-v1-", r"[a-f0-9]{32,}+"),
    "openai-key": ("sk-", r"(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{32,}+"),
    "google-key": ("AIza", r"[A-Za-z0-9_-]{35}"),
    "aws-access-key": ("AKIA", r"[A-Z0-9]{16}\b"),
    "aws-session-key": ("ASIA", r"[A-Z0-9]{16}\b"),
    "github-token": ("gh", r"[pousr]_[A-Za-z0-9]{36,}+"),
    "github-pat": ("github_pat_", r"[A-Za-z0-9_]{50,}+"),
    "gitlab-token": ("glpat-", r"[A-Za-z0-9_-]{20,}+"),
    "slack-token": ("xox", r"[abeoprs]-[A-Za-z0-9-]{10,}+"),
    "stripe-key": ("sk_", r"(?:live|test)_[A-Za-z0-9]{16,}+"),
    "stripe-restricted-key": ("rk_", r"(?:live|test)_[A-Za-z0-9]{16,}+"),
    "huggingface-token": ("hf_", r"[A-Za-z0-9]{30,}+"),
    "replicate-token": ("r8_", r"[A-Za-z0-9]{30,}+"),
    "npm-token": ("npm_", r"[A-Za-z0-9]{36}"),
    "pypi-token": ("pypi-AgEIcHlwaS5vcmc", r"[A-Za-z0-9_-]{50,}+"),
    "jetty-key": ("mlc_", r"[a-z0-9]{32}\b"),
    "datadog-token": ("dtn_", r"[A-Za-z0-9]{20,}+"),
    # What begins like a token and is none is matched too, so that it is passed over once and not from each of its
    # characters again.
    "jwt": ("eyJ", rf"{_JWT_PART}(?:\.eyJ{_JWT_PART}\.{_JWT_PART}|(?P<no>))"),
    "private-key": (
        "-----BEGIN ",
        r"[A-Z ]{0,40}PRIVATE KEY-----[^-]*+(?:-(?!----)[^-]*+)*+(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|(?P<no>))",
    ),
}
"""Rule → the literal it begins with, and the expression for what follows. A match with a group `no` is none."""

_EXPRESSIONS: Final = {
    rule: (literal, re.compile(rf"(?<!\w){re.escape(literal)}{rest}")) for rule, (literal, rest) in PATTERNS.items()
}
_LONGEST: Final = 1 << 16
"""Characters: nothing longer that fits a pattern is taken for a secret that may still go on."""
_TOKEN_CHARACTERS: Final = string.ascii_letters + string.digits + "_-."
_PRIVATE_KEY: Final = "-----BEGIN "
_TOKEN_LITERALS: Final = [literal for literal, _ in PATTERNS.values() if literal != _PRIVATE_KEY]
_TOKEN_BEGUN: Final = re.compile(
    r"(?<![A-Za-z0-9_])(?:"
    + "|".join(re.escape(literal) for literal in _TOKEN_LITERALS)
    + "|(?:"
    + "|".join(sorted({re.escape(literal[:n]) for literal in _TOKEN_LITERALS for n in range(1, len(literal))}))
    + r")\Z)"
)
_PRIVATE_KEY_OVER: Final = re.compile(r"-----END [A-Z ]*-----")


def matches(rule: str, text: str) -> Iterator[re.Match[str]]:
    """Yields what looks like such a key, unless it is inside a word."""
    literal, expression = _EXPRESSIONS[rule]
    for match in expression.finditer(text) if literal in text else ():
        if match.groupdict().get("no") is None:
            yield match


def begun(text: str) -> bool:
    """Whether what could be a token reaches to the end of the text, or a private key has no end."""
    text = text[-_LONGEST:]
    token = text[len(text.rstrip(_TOKEN_CHARACTERS)) :]
    if _TOKEN_BEGUN.search(token) or overlaps(text, _PRIVATE_KEY):
        return True
    begin = text.rfind(_PRIVATE_KEY)
    return begin >= 0 and not _PRIVATE_KEY_OVER.search(text, begin)


def overlaps(text: str, form: str) -> bool:
    """Whether the text ends with the beginning of the form, but not with all of it."""
    last = text[-1:]
    return any(form[n - 1] == last and text.endswith(form[:n]) for n in range(min(len(text), len(form) - 1), 0, -1))
