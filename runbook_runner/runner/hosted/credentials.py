"""Runner, hosted: what of a runbook's MCP servers must not be sent.

A `headers:` or `env:` entry that is named like a credential, or looks like one, stays here, unless it only names
secrets. With one anywhere else in a server the runbook is refused: without it that means nothing.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from runbook_runner.core.declared import SECRET_PLACE
from runbook_runner.core.errors import InputError
from runbook_runner.core.redaction.names import looks_secret
from runbook_runner.runbook.check.rules.safety import credentials_in
from runbook_runner.runbook.document import Runbook, parse
from runbook_runner.runbook.parts.frontmatter import Frontmatter, cut

DECLARE: Final = "Write ${NAME} there, and declare NAME under `secrets:`."
REMOVED: Final = "removed-by-runbook-push"
"""In the text, in the place of a credential."""
_CREDENTIAL: Final = re.compile(r"auth|token|secret|passw|api.?key|cookie|credential", re.IGNORECASE)
_SCHEME: Final = re.compile(r"\s*(?:bearer|basic)\s", re.IGNORECASE)
_WORDS: Final = re.compile(r"\b(?:bearer|basic|token)\b|\s", re.IGNORECASE)
_ADDRESS: Final = re.compile(r"""(?<![A-Za-z0-9+.-])[A-Za-z0-9+.-]+://[^\s"'<>]+""")
_VALUE = r"""(?=["']?(?P<value>(?:(?:bearer|basic|token)\s+)?[^\s"',;&}]{1,200}))"""  # in which a pair may begin
_PAIRS: Final = (
    re.compile(rf"""(?<![\w./-])(?P<name>[\w.-]+)["']?\s*[=:]\s*{_VALUE}""", re.IGNORECASE),
    re.compile(rf"(?<!\S)(?P<name>--?\w[\w-]*)\s+{_VALUE}", re.IGNORECASE),
)
"""In a text: `NAME=value`, `"name": "value"`, `Name: value`, and `--name value`."""
_PORT_TAG_OR_WORD: Final = re.compile(r"[\w.-]+:(?:v?\d[\d.]{0,9}(?:/.*)?|[a-z_]{1,12})|secret:.*", re.DOTALL)
_HARMLESS: Final = re.compile(r"oauth2?|none|bearer|basic|token|api.?key|header|true|false", re.IGNORECASE)
"""What says how a server is asked, and not with what."""
_PLACE: Final = "\0"  # of a secret
_VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9_]*")


def without_credentials(front: Frontmatter) -> tuple[dict[str, Any], dict[str, str]]:
    """The MCP servers of the frontmatter as they may be stored, and place → value of what was removed. Raises
    InputError for a credential elsewhere in them."""
    inner = front.code_checks.get("mcp_servers")
    blocks = {
        "code_checks.mcp_servers": inner if isinstance(inner, dict) else {},
        "mcp_servers": front.mcp_servers,
    }
    if inner is not None and not isinstance(inner, dict):
        _require_open("code_checks.mcp_servers", inner)  # it is no block of servers, but it is in the text
    servers: dict[str, Any] = {}
    removed: dict[str, str] = {}
    for block, entries in blocks.items():
        for name, server in entries.items():
            place = f"{block}.{name}"
            if not isinstance(server, dict):
                _require_open(place, server)
                servers[name] = server
                continue
            kept = dict(server)
            for part in ("headers", "env"):
                values = kept.pop(part, None)
                if values is not None:
                    gone = _gone(f"{place}.{part}", values)
                    removed |= {f"{place}.{part}.{key}": value for key, value in gone.items()}
                    kept[part] = {key: value for key, value in values.items() if key not in gone}
            _require_open(place, {key: value for key, value in kept.items() if key not in ("headers", "env")})
            servers[name] = kept
    return servers, removed


def _gone(place: str, values: Any) -> dict[Any, str]:
    """Those of `headers:` or `env:` that are credentials. Raises InputError for what is not a mapping of texts."""
    if not isinstance(values, dict):
        raise InputError(f"{place} is not a mapping: what is in it can't be told apart.", hint="Write NAME: value.")
    for key, value in values.items():
        if isinstance(value, (dict, list)):
            _require_open(f"{place}.{key}", value)
    plain = {key: str(value) for key, value in values.items() if not isinstance(value, (dict, list))}
    return {key: value for key, value in plain.items() if _is_credential(str(key), value)}


def _require_open(place: str, value: Any) -> None:
    """Raises InputError when there is a credential anywhere in a setting."""
    key = place.rpartition(".")[2]
    if isinstance(value, dict):
        for name, inner in value.items():
            _require_open(f"{place}.{name}", inner)
    elif isinstance(value, list):
        spelled = [str(item) for item in value]
        if any(
            name.startswith("-") and not after.startswith("-") and _is_credential(name, after)
            for name, after in pairwise(spelled)
        ):
            raise _held(place, key)
        for inner in value:
            _require_open(place, inner)
    elif value is not None and not isinstance(value, bool):
        text = str(value)
        names_variable = "env" in key.casefold() and _VARIABLE.fullmatch(text)
        if not names_variable and not _HARMLESS.fullmatch(text) and _is_credential(key, text):
            raise _held(place, key)


def _held(place: str, key: str) -> InputError:
    what = {"url": f"The address {place} holds", "args": f"The arguments {place} hold"}
    return InputError(f"{what.get(key, f'The setting {place} holds')} a credential.", hint=DECLARE)


def _is_credential(key: str, value: str) -> bool:
    is_named = bool(_CREDENTIAL.search(key)) or looks_secret(key, value)
    return (is_named and not _names_secrets(value)) or _holds_credential(value)


def _names_secrets(value: str) -> bool:
    """Whether it is nothing else."""
    return value.startswith("secret:") or not _WORDS.sub("", SECRET_PLACE.sub("", value))


def _holds_credential(value: str) -> bool:
    """Whether it looks like one, or has one in it, whatever it is called."""
    if _SCHEME.match(value) and not _names_secrets(value):
        return True
    if any(credentials_in(value)):
        return True
    addresses = [match[0] for match in _ADDRESS.finditer(value)]
    return any(map(_is_telling, addresses)) or any(_is_credential_pair(*pair) for pair in _pairs(value))


def _is_telling(address: str) -> bool:
    """Whether it has a credential in it."""
    try:
        parts = urlsplit(address)
        asked = [*parse_qsl(parts.query), *parse_qsl(parts.fragment)]
    except ValueError:
        return True
    user = parts.netloc.rpartition("@")[0]
    return not _names_secrets(user) or any(_is_credential(*pair) for pair in asked)


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Names with their values in a command line, in JSON, or in headers."""
    left = SECRET_PLACE.sub(_PLACE, _ADDRESS.sub("", text))
    for match in (match for pair in _PAIRS for match in pair.finditer(left)):
        if not _PORT_TAG_OR_WORD.fullmatch(match[0] + match["value"]) and not _HARMLESS.fullmatch(match["value"]):
            yield match["name"], match["value"].replace(_PLACE, "")


def _is_credential_pair(name: str, value: str) -> bool:
    is_named = bool(_CREDENTIAL.search(name)) or looks_secret(name.lstrip("-").replace("-", "_"), value)
    return is_named and not _names_secrets(value) and not value.startswith("-")


def cleaned_text(runbook: Runbook, removed: Mapping[str, str]) -> str:
    """The document without these values in its frontmatter. Raises InputError when one is written there in a way in
    which it can't be found."""
    if not removed:
        return runbook.text
    parts = cut(runbook.text)
    head = parts.head
    for value in sorted(removed.values(), key=len, reverse=True):
        head = head.replace(value, REMOVED)
    left = parse(head + parts.body, runbook.source).frontmatter
    still = [place for place, value in without_credentials(left)[1].items() if REMOVED not in value]
    if still:
        message = f"The credential {still[0]} can't be removed from the text."
        raise InputError(message, where=runbook.source, hint=DECLARE)
    return head + parts.body
