"""Core: removes secrets from all that is written: known values (also encoded), then well-known key patterns.

Used before the first byte is written. Reports say which rule and how often, never the value. Rules: contract §9.4,
field notes §9.4. Tool-use ids and thinking signatures do not match any pattern and so pass unharmed.
"""

import base64
import json
import re
import string
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote, quote_plus

MIN_VALUE = 4  # shorter values would destroy ordinary text
_MIN_LINE = 16
_MIN_BASE64 = 8

# Formats that providers publish or secret scanners use. Each begins with a literal that is looked for first: most text
# holds none, and a substring test is a thousand times faster than an alternation. Special cases stand before general.
PATTERNS: dict[str, tuple[str, str]] = {
    "anthropic-key": ("sk-ant-", r"[A-Za-z0-9_-]{20,}"),
    "openrouter-key": ("sk-or-v1-", r"[a-f0-9]{32,}"),
    "openai-key": ("sk-", r"(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{32,}"),
    "google-key": ("AIza", r"[A-Za-z0-9_-]{35}"),
    "aws-access-key": ("AKIA", r"[A-Z0-9]{16}\b"),
    "aws-session-key": ("ASIA", r"[A-Z0-9]{16}\b"),
    "github-token": ("gh", r"[pousr]_[A-Za-z0-9]{36,}"),
    "github-pat": ("github_pat_", r"[A-Za-z0-9_]{50,}"),
    "gitlab-token": ("glpat-", r"[A-Za-z0-9_-]{20,}"),
    "slack-token": ("xox", r"[abeoprs]-[A-Za-z0-9-]{10,}"),
    "stripe-key": ("sk_", r"(?:live|test)_[A-Za-z0-9]{16,}"),
    "stripe-restricted-key": ("rk_", r"(?:live|test)_[A-Za-z0-9]{16,}"),
    "huggingface-token": ("hf_", r"[A-Za-z0-9]{30,}"),
    "replicate-token": ("r8_", r"[A-Za-z0-9]{30,}"),
    "npm-token": ("npm_", r"[A-Za-z0-9]{36}"),
    "pypi-token": ("pypi-AgEIcHlwaS5vcmc", r"[A-Za-z0-9_-]{50,}"),
    "jetty-key": ("mlc_", r"[a-z0-9]{32}\b"),
    "datadog-token": ("dtn_", r"[A-Za-z0-9]{20,}"),
    "jwt": ("eyJ", r"[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    "private-key": ("-----BEGIN ", r"[A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----"),
}
"""Rule → the literal it begins with, and the expression for what follows."""

_EXPRESSIONS = {rule: (literal, re.compile(re.escape(literal) + rest)) for rule, (literal, rest) in PATTERNS.items()}

_SECRET_NAME = re.compile(
    r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PWD|CREDENTIALS?|AUTH|PAT|COOKIE)S?(?:_|$)", re.IGNORECASE
)


_LONGEST = 1 << 16
"""Characters: nothing longer that fits a pattern is taken for a secret that may still go on."""
_TOKEN_CHARACTERS = string.ascii_letters + string.digits + "_-."
_PRIVATE_KEY = "-----BEGIN "
_TOKEN_LITERALS = [literal for literal, _ in PATTERNS.values() if literal != _PRIVATE_KEY]
_TOKEN_BEGUN = re.compile(
    r"(?<![A-Za-z0-9_])(?:"
    + "|".join(re.escape(literal) for literal in _TOKEN_LITERALS)
    + "|(?:"
    + "|".join(sorted({re.escape(literal[:n]) for literal in _TOKEN_LITERALS for n in range(1, len(literal))}))
    + r")\Z)"
)
_PRIVATE_KEY_OVER = re.compile(r"-----END [A-Z ]*-----")


def looks_secret(name: str, value: str) -> bool:
    """Whether an environment variable holds a secret, going by its name; a path or a short word is none."""
    return bool(_SECRET_NAME.search(name)) and len(value) >= 8 and not value.startswith(("/", "~"))


class Redactor:
    """Removes the given secrets from text, bytes and JSON values. Safe to share between threads once built."""

    def __init__(self, secrets: Mapping[str, str]):
        """secrets: name → value; values under four characters are ignored, they would match anything."""
        self._names: dict[str, str] = {}
        for name, value in secrets.items():
            for form in _forms(value):
                self._names.setdefault(form, name)
        self._forms = sorted(self._names, key=len, reverse=True)

    def text(self, text: str) -> tuple[str, Counter[str]]:
        """The text without secrets, and how often each rule hit."""
        hits: Counter[str] = Counter()
        text = self._without_known(text, hits)
        return self._without_patterns(text, hits), hits

    def clean(self, text: str) -> str:
        return self.text(text)[0]

    def known(self, text: str) -> tuple[str, Counter[str]]:
        """Only the known values go. For a user's own result files, which stay byte for byte otherwise."""
        hits: Counter[str] = Counter()
        return self._without_known(text, hits), hits

    def json(self, value: Any) -> Any:
        """The same JSON value with every string, keys included, cleaned."""
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, dict):
            return {self.clean(str(key)): self.json(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.json(item) for item in value]
        return value

    def unfinished(self, text: str) -> bool:
        """Whether a secret may have begun in this text and go on in what follows it. A text that is not unfinished
        can be cleaned apart from what follows."""
        return any(_overlap(text, form) for form in self._forms) or _pattern_begun(text[-_LONGEST:])

    def _without_known(self, text: str, hits: Counter[str]) -> str:
        there = [form for form in self._forms if form in text]
        if not there:
            return text

        def replace(match: re.Match[str]) -> str:
            name = self._names[match[0]]
            hits[name] += 1
            return mark(name)

        # One pass, longest form first: a mark that was put in is never searched itself.
        return re.sub("|".join(map(re.escape, there)), replace, text)

    @staticmethod
    def _without_patterns(text: str, hits: Counter[str]) -> str:
        for rule, (literal, expression) in _EXPRESSIONS.items():
            if literal in text:
                text = expression.sub(partial(_unless_inside_a_word, rule, hits), text)
        return text


def _unless_inside_a_word(rule: str, hits: Counter[str], match: re.Match[str]) -> str:
    before = match.string[match.start() - 1] if match.start() else " "
    if before.isalnum() or before == "_":
        return match[0]
    hits[rule] += 1
    return mark(rule)


def _overlap(text: str, form: str) -> bool:
    """The text ends with the beginning of the form, but not with all of it."""
    last = text[-1:]
    return any(form[n - 1] == last and text.endswith(form[:n]) for n in range(min(len(text), len(form) - 1), 0, -1))


def _pattern_begun(text: str) -> bool:
    """What could be a token reaches to the end of the text, or a private key has no end."""
    token = text[len(text.rstrip(_TOKEN_CHARACTERS)) :]
    if _TOKEN_BEGUN.search(token) or _overlap(text, _PRIVATE_KEY):
        return True
    begin = text.rfind(_PRIVATE_KEY)
    return begin >= 0 and not _PRIVATE_KEY_OVER.search(text, begin)


def mark(name: str) -> str:
    """The mark in place of a secret. name: the secret's, or that of the pattern which found it."""
    return f"***REDACTED:{name}***"


def _forms(value: str) -> Iterator[str]:
    """The ways a value may be written: as it is, JSON-escaped, URL-encoded, in base64, and line by line."""
    if len(value) < MIN_VALUE:
        return
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    raw = value.encode("utf-8", "surrogateescape")  # as the environment gives what is not UTF-8
    yield quote(raw, safe="")
    yield quote_plus(raw, safe="")
    yield from _base64_forms(raw)
    lines = value.splitlines()
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= _MIN_LINE)


def _base64_forms(raw: bytes) -> Iterator[str]:
    """What base64 of a longer text shows of `raw` at each of the three alignments: the characters that depend on
    `raw` alone."""
    for before in range(3):
        bits = (len(raw) + before) * 8
        first = -(-before * 8 // 6)
        last = bits // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            form = encode(b"\0" * before + raw).decode()[first:last]
            if len(form) >= _MIN_BASE64:
                yield form
