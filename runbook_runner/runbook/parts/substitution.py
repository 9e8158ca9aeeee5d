"""Room `runbook`: `{{name}}` (contract §3.7) and `{{secrets.NAME}}` (§3.3), and nothing else.

Not a template language: runbooks hold JSX, f-strings, `${{ }}` and `{% %}`, all of which must stay as they are.
"""

import json
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from runbook_runner.core import settings

BUILT_IN: Mapping[str, str] = MappingProxyType(
    {"results_dir": settings.RESULTS, "assets_dir": settings.ASSETS, "checks_dir": settings.CHECKS}
)
"""Names that have a value in every run (contract §3.7)."""

_WITH_DOLLAR = re.compile(
    r"(?P<dollar>\$?)\{\{\s*(?:secrets\.(?P<secret>[A-Za-z_][A-Za-z0-9_-]*)|(?P<name>[A-Za-z_][A-Za-z0-9_]*))\s*\}\}"
)


# Without the dollar the pattern starts with plain text, which `re` finds ten times as fast.
PLACEHOLDER = re.compile(_WITH_DOLLAR.pattern.removeprefix(r"(?P<dollar>\$?)"))


class Placeholder(NamedTuple):
    name: str
    line: int
    """1-based, in the text that was searched."""
    is_secret: bool = False


def substitute(text: str, values: Mapping[str, object], secret_envs: Mapping[str, str] = MappingProxyType({})) -> str:
    """Replaces `{{name}}` by its value and `{{secrets.NAME}}` by `$ENV` (`${{secrets.NAME}}` by `${ENV}`).

    secret_envs: secret name → environment variable. What is in neither mapping stays byte for byte. One pass: a
    value that contains `{{x}}` is not looked at again.
    """

    def replace(match: re.Match[str]) -> str:
        dollar, secret, name = match["dollar"], match["secret"], match["name"]
        if secret in secret_envs:
            return f"${{{secret_envs[secret]}}}" if dollar else f"${secret_envs[secret]}"
        return dollar + spell(values[name]) if name in values else match[0]

    return _WITH_DOLLAR.sub(replace, text)


def spell(value: object) -> str:
    """How a value looks in a runbook: text as it is, null as nothing, all else as JSON writes it."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def placeholders(text: str) -> tuple[Placeholder, ...]:
    """Every `{{name}}` and `{{secrets.NAME}}` in order, known or not, repeats included."""
    return tuple(each_placeholder(text))


def each_placeholder(text: str) -> Iterator[Placeholder]:
    """The same, one by one."""
    line, counted = 1, 0
    for match in PLACEHOLDER.finditer(text):
        line += text.count("\n", counted, match.start())
        counted = match.start()
        yield Placeholder(match["secret"] or match["name"], line, is_secret=match["secret"] is not None)


def used_names(text: str) -> frozenset[str]:
    """The names of all `{{name}}`, secrets apart."""
    return frozenset(match["name"] for match in PLACEHOLDER.finditer(text) if match["name"])
