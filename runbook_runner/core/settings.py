"""Core: paths, default limits, and the names of the environment variables we read or set. No other I/O."""

import errno
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, cast, get_args

from runbook_runner.core.disk.repository import is_everybodys, open_found, repository_of
from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.text import did_you_mean

# --- inside every sandbox (contract §5.2) --------------------------------------------------------------------------
APP: Final = "/app"
ASSETS: Final = "/app/assets"
RESULTS: Final = "/app/results"
WORK: Final = "/app/work"
CHECKS: Final = "/app/checks"
MISSION_FILE: Final = "/app/RUNBOOK.md"
PRIVATE: Final = "/app/.runbook"  # the runner's own files: agent config, driver scripts, session files
SANDBOX_CA_BUNDLE: Final = "/etc/runbook/ca-bundle.crt"

# Every variable by which the tools in a sandbox find a CA bundle (field notes §9.11).
CA_VARIABLES: Final = (
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
)

# --- variables of the host that are about models -------------------------------------------------------------------
PRICES_VARIABLE: Final = "RUNBOOK_PRICES"  # a file with prices, see gateway/prices.py
PARALLEL_CALLS_VARIABLE: Final = "RUNBOOK_MAX_PARALLEL_CALLS"  # with one provider key, in all runs of a process
CALLS_PER_MINUTE_VARIABLE: Final = "RUNBOOK_MAX_CALLS_PER_MINUTE"  # the same

# --- defaults ------------------------------------------------------------------------------------------------------
DEFAULT_AGENT: Final = "claude-code"
DEFAULT_SNAPSHOT: Final = "python312-uv"
DEFAULT_COLLECTION: Final = "local"
DEFAULT_TIMEOUT_S: Final = 1200.0  # contract §5.6
DEFAULT_CPUS: Final = 4.0  # contract §5.6; a sandbox takes what the machine has when that is less
DEFAULT_MEMORY_BYTES: Final = 8 << 30
DEFAULT_PIDS: Final = 1024
DEFAULT_OPEN_FILES: Final = 65_536  # of each process
DEFAULT_DISK_BYTES: Final = 20 << 30
DEFAULT_IDLE_S: Final = 600.0  # no output and no model traffic for so long: the agent is stuck
MAX_ARGUMENT_BYTES: Final = (128 << 10) - 1
"""Of one argument, or of one variable with its name: Linux starts no program with a longer one (MAX_ARG_STRLEN)."""
RUNBOOK_FILE: Final = "RUNBOOK.md"  # what a folder holds that is named as a runbook
MAX_RUNBOOK_BYTES: Final = 5_000_000
DEFAULT_RESULTS_BYTES: Final = 1 << 30
DEFAULT_RESULTS_FILES: Final = 20_000
KEPT_INPUTS_BYTES: Final = 64 << 20  # of a run's inputs that are kept in its folder
UNPACKED_BYTES: Final = 2 << 30  # that one zip among a run's inputs may unpack to
UNPACKED_FILES: Final = 20_000  # the same
INPUT_ENTRIES: Final = 100_000  # files and folders that all inputs of a run may make
DEFAULT_PARALLEL_CALLS: Final = 64  # concurrent model calls with one provider key
DEFAULT_CHECK_TIMEOUT_S: Final = 120  # of one code check (contract §3.11)
MAX_CHECK_TIMEOUT_S: Final = 900
MAX_JUDGE_SAMPLES: Final = 25  # how often a judge is asked the same
GRACE_S: Final = 5.0  # between asking a process to end and killing it

RecordMode = Literal["full", "metadata", "none"]
"""What is kept of model calls: everything, everything except the messages, or nothing. Only `full` can be replayed."""

# --- settings of a project ------------------------------------------------------------------------------------------
_PROJECT_TABLES = ("check", "run")
_PROJECT_FILES = ((".runbook/config.toml", ()), ("pyproject.toml", ("tool", "runbook")))
# Nearly every project has a pyproject.toml, few have a table for this program, and to parse one takes 10 ms.
_HAS_OUR_TABLE = re.compile(
    rb"""tool["']?\s*\.\s*["']?runbook(?![\w-])|^[ \t]*+\[\s*["']?tool["']?\s*\]""", re.MULTILINE
)

# --- on the host ---------------------------------------------------------------------------------------------------


class Settings(NamedTuple):
    """What the environment says about this machine; read once per command with `Settings.load()`."""

    home: Path
    """Root of what is recorded: trajectories. `RUNBOOK_HOME`, else the `.runbook` of the repository around the current
    folder, else of this folder."""
    ca_bundle: Path | None
    """PEM file handed to image builds and containers: `RUNBOOK_CA_BUNDLE`, else the one that the host's tools use
    to use. `None`: this host trusts the public roots only, and so may the sandbox."""
    base_image: str | None
    """`RUNBOOK_BASE_IMAGE`: what snapshots are built on. `None`: the snapshot's own choice."""

    record_mode: RecordMode
    """`RUNBOOK_RECORD_MODE`."""
    judge_model: str | None
    """`RUNBOOK_JUDGE_MODEL`: who judges results when `--judge-model` does not say it. `None`: nobody."""
    data: Path
    """The user's own folder, for all homes: claims of runs, what sandboxes need of this machine, agents' programs.
    `RUNBOOK_DATA`, else where the system keeps such things. See `core/disk/private.py`."""

    @classmethod
    def load(cls) -> "Settings":
        """Raises InputError for a value that can't be."""
        named = os.environ.get("RUNBOOK_HOME")
        return cls(
            home=Path(named).absolute() if named else _home_around(Path.cwd()),
            ca_bundle=_ca_bundle(),
            base_image=os.environ.get("RUNBOOK_BASE_IMAGE") or None,
            record_mode=record_mode(os.environ.get("RUNBOOK_RECORD_MODE") or "full", "RUNBOOK_RECORD_MODE"),
            judge_model=os.environ.get("RUNBOOK_JUDGE_MODEL") or None,
            data=user_data(),
        )

    def require_home(self, *, each_run: bool = True) -> Path:
        """`home`, a folder or a path where one can be made. Links in the user's own are the user's; the `.runbook` of
        a repository may have come with a clone, and may not lead elsewhere. each_run: false for who follows no link to
        a run's folder; there may be 100,000 of them. Raises NotReadyError."""
        there = next(path for path in (self.home, *self.home.parents) if os.path.lexists(path))
        problem = None if os.path.isdir(there) else f"{there} is not a folder"  # noqa: PTH112 - it never raises
        try:
            self.home.lstat()
        except OSError as error:
            problem = "the name is too long" if error.errno == errno.ENAMETOOLONG else problem
        if problem:
            hint = "Set RUNBOOK_HOME to a folder you may write to."
            raise NotReadyError(f"No run can be recorded here: {problem}.", where=str(self.home), hint=hint)
        if not os.environ.get("RUNBOOK_HOME") and (link := _link_in(self.home, 3 if each_run else 2)):
            hint = "Remove the link; to record elsewhere, set RUNBOOK_HOME to that folder."
            raise NotReadyError(f"{link} is a link, which may have come with this folder.", hint=hint)
        return self.home


def _home_around(folder: Path) -> Path:
    """Above this folder, other users may have made a repository to get at what is recorded: `/tmp/.runbook`."""
    top = repository_of(folder)
    return (top if _is_own(top) and _is_own(top / ".runbook") else folder) / ".runbook"


def _is_own(folder: Path) -> bool:
    """Whether it is this user's, and not everybody's to write to; also when there is none. A link is told later."""
    try:
        seen = folder.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return seen.st_uid == os.geteuid() and not is_everybodys(seen.st_mode)


def _link_in(home: Path, levels: int) -> Path | None:
    """Among the folders of trajectories, in so many levels, of which each is looked at before what is below it."""
    top = home / "trajectories"
    if found := next((path for path in (home, top) if os.path.islink(path)), None):  # noqa: PTH114 - never raises
        return found
    folders = [str(top)]
    for _ in range(levels):
        inner = [entry for folder in folders for entry in _entries(folder)]
        if link := next((entry for entry in inner if entry.is_symlink()), None):
            return Path(link.path)
        folders = [entry.path for entry in inner if entry.is_dir(follow_symlinks=False)]
    return None


def _entries(folder: str) -> list["os.DirEntry[str]"]:
    """Empty where it can't be read."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def record_mode(text: str, where: str) -> RecordMode:
    """Raises InputError."""
    for known in get_args(RecordMode):
        if text == known:
            return cast(RecordMode, known)
    hint = did_you_mean(text, get_args(RecordMode)) or f"Known: {', '.join(get_args(RecordMode))}."
    raise InputError(f"There is no record mode {text!r}.", where=where, hint=hint)


def user_data() -> Path:
    """XDG Base Directory Specification, on macOS too: its own place has a space in its name, and commands of a runbook
    that names files below it would not work."""
    if own := os.environ.get("RUNBOOK_DATA"):
        return Path(own).absolute()
    if (shared := Path(os.environ.get("XDG_DATA_HOME") or ".")).is_absolute():
        return shared / "runbook-runner"
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - a user without a home is not an error here
    # Below the current folder it could have come with a clone: where there is no home, no such folder can be made.
    return (home if home.is_absolute() else Path(os.devnull)) / ".local/share/runbook-runner"


def _ca_bundle() -> Path | None:
    """An empty `RUNBOOK_CA_BUNDLE` means none. A path that is set but missing is kept, so that its user can say so."""
    own = os.environ.get("RUNBOOK_CA_BUNDLE")
    if own is not None:
        return Path(own).absolute() if own else None
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"):
        value = os.environ.get(name)
        if value and os.path.isfile(value):  # noqa: PTH113 - it never raises
            return Path(value).absolute()
    return None


class Table(NamedTuple):
    path: str
    """The file it is in, for messages."""
    values: Mapping[str, Any]


def table_in(folder: Path, name: str) -> Table | None:
    """Of one folder; the first file that has it. Raises InputError with the file for what can't be read."""
    for name_in_folder, above in _PROJECT_FILES:
        path = str(folder / name_in_folder)
        if os.path.isfile(path) and (values := _table(path, (*above, name))) is not None:  # noqa: PTH113 - it never raises
            return Table(path, values)
    return None


def _table(path: str, keys: tuple[str, ...]) -> Mapping[str, Any] | None:
    try:
        with open_found(Path(path)) as file:
            text = file.read(MAX_RUNBOOK_BYTES)
        if len(keys) > 1 and not _HAS_OUR_TABLE.search(text):
            return None
        value: Any = _parsed(text, os.path.realpath(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The settings can't be read: {error}.", where=path) from error
    for key in keys:
        if key == keys[-1] and isinstance(value, dict):
            _require_known(value, path)
        value = value.get(key) if isinstance(value, dict) else None
    if value is not None and not isinstance(value, dict):
        raise InputError(f"`{'.'.join(keys)}` must be a table.", where=path)
    return value


@lru_cache(maxsize=4)  # a clone may have a link to one large file in each of many folders
def _parsed(text: bytes, path: str) -> Any:
    from runbook_runner.core.formats.json_toml import read_toml  # only projects that have such a table pay for it

    return read_toml(text.decode(), path)


def _require_known(tables: Mapping[str, Any], path: str) -> None:
    """A misspelt `run` would bound nothing, without a word."""
    for name in tables:
        if name not in _PROJECT_TABLES:
            hint = did_you_mean(name, _PROJECT_TABLES) or f"There are {' and '.join(_PROJECT_TABLES)}."
            raise InputError(f"There is no table {name!r} of settings.", where=path, hint=hint)
