"""Client: fetches a run of a platform: its trajectory, its log and its files, into a folder of ours.

The platform names the files; here each has a name that is made from its key, and only keys of the run's own collection
are asked for (contract §1.9).
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from runbook_runner.client.addresses import RemoteRun
from runbook_runner.client.download import download, remove_others
from runbook_runner.client.platform import NotFoundError, Platform, PlatformError
from runbook_runner.core.errors import InputError
from runbook_runner.core.formats.json_toml import plain_json
from runbook_runner.core.settings import DEFAULT_RESULTS_FILES
from runbook_runner.core.text import counted, printable_name
from runbook_runner.trajectory.imports.hosted import is_hosted, stored_files

_ENDED: Final = frozenset({"completed", "failed", "cancelled", "archived", "timed_out"})
_MOST_KEY = 1024
_NAMED = 5

Tell = Callable[[str], None]


@dataclass(frozen=True)
class FetchedRun:
    body: dict[str, Any]
    """The trajectory."""
    log: Any
    """`None`: the platform has none."""
    files: dict[str, Path]
    """Storage key → file."""
    notes: tuple[str, ...]
    """What is not there, in sentences."""


def fetch_run(platform: Platform, run: RemoteRun, folder: Path, most: int, tell: Tell) -> FetchedRun:
    """folder: for its files, where an earlier attempt may have left some. most: bytes of all files. tell: gets where it
    is. Raises PlatformError, NotFoundError, and InputError for a run that is not over, or is too large."""
    tell(f"trajectory {run}")
    body = _trajectory(platform, run)
    keys = [*stored_files(body), *input_keys(body)]
    ours, notes = _own(keys, run.collection)
    if len(ours) > DEFAULT_RESULTS_FILES:
        raise InputError(f"The run {run} has {counted(len(ours), 'file')}; {DEFAULT_RESULTS_FILES:,} is the limit.")
    places = {key: folder / hashlib.sha256(key.encode()).hexdigest()[:32] for key in ours}
    remove_others(folder, places.values())
    files, left = dict[str, Path](), most
    missing: list[str] = []
    for number, (key, target) in enumerate(places.items(), 1):
        name, of = key.rpartition("/")[2], f"{number} of {len(ours)}"

        def report(have: int, whole: int | None, of: str = of, name: str = name) -> None:
            size = f"{have / 1e6:,.1f} of {whole / 1e6:,.1f} MB" if whole else f"{have / 1e6:,.1f} MB"
            tell(f"file {of}, {size}: {name}")

        try:
            left -= download(platform, key, target, left, report)
            files[key] = target
        except NotFoundError:
            missing.append(key)
    if missing:
        notes.append(f"The platform does not have {_named(missing)}.")
    log, problem = _log(platform, run)
    return FetchedRun(body, log, files, tuple([*notes, problem] if problem else notes))


def input_keys(body: dict[str, Any]) -> list[str]:
    """Storage keys of what the agent was given."""
    init = body.get("init_params")
    paths = init.get("file_paths") if isinstance(init, dict) else None
    return [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []


def _trajectory(platform: Platform, run: RemoteRun) -> dict[str, Any]:
    what = f"the run {run}"
    try:
        body = platform.get(f"/api/v1/trajectory/{run.path}", what)
    except NotFoundError:
        body = platform.get(f"/api/v1/db/trajectory/{run.path}", what)
    if not is_hosted(body):
        raise PlatformError(f"The platform's answer for {what} is not a trajectory.", where=platform.api)
    if body["trajectory_id"] != run.trajectory_id:
        raise PlatformError(f"The platform answered with another run than {run}.", where=platform.api)
    if body.get("status") not in _ENDED:
        state = printable_name(str(body.get("status"))[:40])
        raise InputError(f"The run {run} is not over: it is {state}.", hint="Pull it when it has ended.")
    kept: dict[str, Any] = plain_json(body)
    return kept


def _own(keys: Iterable[str], collection: str) -> tuple[list[str], list[str]]:
    """The keys of this collection, and a note about others."""
    ours, others = list[str](), list[str]()
    for key in dict.fromkeys(keys):
        parts = key.split("/")
        plain = key.isprintable() and len(key) <= _MOST_KEY and not {"", ".", ".."} & set(parts)
        same = len(parts) > 1 and parts[0].casefold() == collection.casefold()
        (ours if plain and same else others).append(key)
    what = "are not files of its collection and were not asked for" if len(others) > 1 else "is not a file of its "
    what = what if len(others) > 1 else f"{what}collection and was not asked for"
    return ours, [f"{_named(others)} {what}."] if others else []


def _log(platform: Platform, run: RemoteRun) -> tuple[Any, str | None]:
    """The log, which a run can do without, and why there is none."""
    workflow = f"{run.collection}/{run.task}--{run.trajectory_id}".replace("/", "-")
    try:
        return platform.get(f"/api/v1/workflows-logs/{quote(workflow, safe='')}", "the log of the run"), None
    except NotFoundError:
        return None, None
    except PlatformError as error:
        return None, f"The run's log is not there: {error.message}"


def _named(keys: list[str]) -> str:
    shown = [printable_name(key[:200]) for key in keys[:_NAMED]]
    return ", ".join(shown) + (f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else "")
