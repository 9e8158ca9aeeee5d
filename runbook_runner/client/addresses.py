"""Client: names of runs and tasks on a platform: `COLLECTION/TASK/ID`, and the addresses under which servers show them
(contract §7.11, §13 row 42)."""

import re
from typing import Final, NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit

from runbook_runner.core import ids
from runbook_runner.core.errors import InputError
from runbook_runner.core.text import printable_name

HOSTED_API: Final = "https://flows-api.jetty.io"
_HOSTED: Final = frozenset({"jetty.io", "www.jetty.io", "flows.jetty.io", "flows-api.jetty.io"})
"""Hosts whose addresses mean the hosted platform."""
_BEFORE: Final = re.compile(r"/(?:trajectory|api/(?:v1|mise)/(?:db/)?trajectory)(?=/)")
_FORMS: Final = "Give COLLECTION/TASK/ID, or the address of the run as the platform shows it."


class RemoteRun(NamedTuple):
    """A run on a platform."""

    collection: str
    task: str
    trajectory_id: str
    host: str | None = None
    """Host, with its port, of the address that named it; `None`: it was named without one."""

    def __str__(self) -> str:
        return "/".join(self[:3])

    @property
    def path(self) -> str:
        """Its place in paths of the API."""
        return "/".join(quote(part, safe="") for part in self[:3])

    def require_of(self, api: str, *, named: bool) -> None:
        """named: the user has said which API is meant, so the address only says which run. Raises InputError when the
        address is of another platform: the token is not for that one."""
        ours = urlsplit(api).netloc.lower()
        if self.host is None or named or self.host == ours or (self.host in _HOSTED and ours in _HOSTED):
            return
        raise InputError(
            f"This address is of {self.host}, and the platform is {ours}.",
            hint="If this platform has the run, name its API with --api ADDRESS; the token is sent there.",
        )


def parse_run(text: str) -> RemoteRun:
    """Raises InputError."""
    url = urlsplit(_split(text).geturl())
    path = url.path
    if "://" in text:
        path = _BEFORE.sub("", path, count=1).removesuffix("/").removesuffix("/download")
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if len(parts) != 3 or not all(map(ids.is_name, parts)):
        raise InputError(f"This names no run of a platform: {_shown(text)}.", hint=_hint(parts))
    collection, task, trajectory_id = parts
    return RemoteRun(collection, task, trajectory_id, url.netloc.lower() or None)


def _split(text: str) -> SplitResult:
    try:
        url = urlsplit(text.strip())
        _ = url.port
    except ValueError as error:
        raise InputError(f"This is not an address: {_shown(text)}.", hint=_FORMS) from error
    if "://" in text and (url.scheme not in ("http", "https") or "@" in url.netloc):
        raise InputError("The address of a run begins with https:// and has no password.", hint=_FORMS)
    return url


def _hint(parts: list[str]) -> str:
    if len(parts) == 1 and "--" in parts[0]:
        return f"This is the id of a workflow, which does not say where the collection's name ends. {_FORMS}"
    if len(parts) == 3:
        return f"{_FORMS} {ids.NAME_HINT}"
    return _FORMS


def _shown(text: str) -> str:
    """Without the query, which may hold a key."""
    return printable_name(re.sub(r"[?#].*|(?<=//)[^/]*@", "", text, flags=re.DOTALL)[:200])
