"""Client: which platform is asked, and with which token (contract §1.1, §11.3, §12.2).

The address is `--api`, else JETTY_API_URL, else `~/.config/jetty/api_base`, else the hosted platform; the token is
JETTY_API_TOKEN, else `~/.config/jetty/token`. All are the user's own: neither a clone nor a server can say them.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from runbook_runner.client.addresses import HOSTED_API
from runbook_runner.core.errors import InputError
from runbook_runner.core.files import is_file, read_bounded
from runbook_runner.core.network.addresses import is_loopback
from runbook_runner.core.text import printable_name

API_VARIABLE: Final = "JETTY_API_URL"
TOKEN_VARIABLE: Final = "JETTY_API_TOKEN"  # noqa: S105 - the name of a variable
TOKEN_FILE: Final = "token"  # noqa: S105 - the name of a file
_MOST = 1 << 16
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,8192}")


@dataclass(frozen=True)
class Access:
    api: str
    """Scheme, host, port and what stands before `/api/v1`; no slash at its end."""
    token: str | None = field(default=None, repr=False)
    """`None`: requests are made without one."""
    is_named: bool = False
    """The user has named the API for this command."""


def find_access(api: str | None) -> Access:
    """api: `--api`. Raises InputError for an address or a token that can't be."""
    if api:
        return Access(checked_api(api, "--api"), _token(), is_named=True)
    if set_by := os.environ.get(API_VARIABLE):
        return Access(checked_api(set_by, API_VARIABLE), _token())
    if kept := _kept("api_base"):
        return Access(checked_api(kept, str(_folder() / "api_base")), _token())
    return Access(HOSTED_API, _token())


def checked_api(text: str, where: str) -> str:
    """Raises InputError: https only, but for this machine itself."""
    try:
        url = urlsplit(text.strip())
        host, _ = url.hostname or "", url.port
        host.encode("idna")
    except ValueError as error:
        raise InputError("This is not an address.", where=where) from error
    if url.scheme not in ("http", "https") or not host or "@" in url.netloc or url.query or url.fragment:
        hint = "Write it like https://flows-api.jetty.io or http://127.0.0.1:8000."
        raise InputError("This is not the address of an API.", where=where, hint=hint)
    if url.scheme == "http" and not is_loopback(host):
        hint = "Only this machine itself is asked over http. Use https."
        raise InputError(f"The token is not sent to {printable_name(host)} over http.", where=where, hint=hint)
    if re.search(r"[^\x21-\x7e]", url.path):
        raise InputError("This is not the address of an API.", where=where)
    return f"{url.scheme}://{url.netloc}{url.path}".rstrip("/").removesuffix("/api/v1")


def _token() -> str | None:
    given = os.environ.get(TOKEN_VARIABLE)
    token, where = (given.strip(), TOKEN_VARIABLE) if given else (_kept(TOKEN_FILE), str(_folder() / TOKEN_FILE))
    if token and not _TOKEN.fullmatch(token):
        raise InputError("This is not a token: it has a space, a line end or another such character.", where=where)
    return token or None


def _kept(name: str) -> str:
    file = _folder() / name
    return read_bounded(file, "file", _MOST).decode("utf-8", "replace").strip() if is_file(file) else ""


def _folder() -> Path:
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - a user without a home is not an error here
    # Below the current folder it could have come with a clone.
    return (home if home.is_absolute() else Path(os.devnull)) / ".config/jetty"
