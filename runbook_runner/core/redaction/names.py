"""Core, redaction: whether a variable holds a secret, going by its name and by what kind of value it has."""

import re
from typing import Final
from urllib.parse import urlsplit

_SECRET_NAME: Final = re.compile(
    r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PWD|PASSPHRASE|CREDENTIALS?|AUTH|PAT|COOKIE)S?(?:_|$)", re.IGNORECASE
)
_COUNT_NAME: Final = re.compile(
    r"(?:^|_)(?:MAX|MIN|NUM|TOTAL|COUNT|LIMIT|BUDGET|LENGTH|SIZE|TTL|TIMEOUT|EXPIRY|EXPIRES?)(?:_|$)", re.IGNORECASE
)
_NUMBER: Final = re.compile(r"[+-]?(?:[\d_,]*+\.\d++|[\d_,]++(?<=\d))(?:[eE][+-]?\d++)?[kKmMgG]?")
_WORDS: Final = frozenset({"disabled", "enabled", "required", "optional", "undefined", "parallel"})
_SHORTEST: Final = 8


def looks_secret(name: str, value: str) -> bool:
    """Whether an environment variable holds a secret that nobody declared. A path, an address without credentials, a
    short word or a count is none."""
    if not _SECRET_NAME.search(name) or len(value) < _SHORTEST or value.startswith(("/", "~", "./", "../")):
        return False
    if value.casefold() in _WORDS or (_COUNT_NAME.search(name) and _NUMBER.fullmatch(value)):
        return False
    return not _is_open_address(value)


def _is_open_address(value: str) -> bool:
    if "://" not in value:
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme.isalnum() and "@" not in parts.netloc and not parts.query and not parts.fragment
