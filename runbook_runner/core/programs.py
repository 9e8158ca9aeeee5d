"""Core: finds a program of this machine, and asks it for its version."""

import os
import re
from pathlib import Path
from typing import Final

from runbook_runner.core.disk.repository import has_mark

VERSION: Final = re.compile(r"(?<!\d)\d++(\.\d++)+\S*")
SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEPT: Final = ("USER", "LOGNAME", "TMPDIR", "LANG", "SYSTEMROOT")


def find_program(name: str) -> str | None:
    """Returns the absolute path of a program on `search_path()`; a relative path is not found."""
    if "/" in name:
        return name if Path(name).is_absolute() and _runs(name) else None
    found = (f"{folder}/{name}" for folder in search_path().split(os.pathsep) if folder)
    return next(filter(_runs, found), None)


def _runs(program: str) -> bool:
    return os.access(program, os.X_OK) and os.path.isfile(program)  # noqa: PTH113 - it never raises


def search_path() -> str:
    """Returns the user's PATH without relative entries and without what lies in the working folder or in the repository
    around it, which came with the project and is not what the user has installed."""
    project = _project()
    entries = filter(os.path.isabs, os.environ.get("PATH", SYSTEM_PATH).split(os.pathsep))
    users = [entry for entry in entries if not project or not Path(os.path.realpath(entry)).is_relative_to(project)]
    return os.pathsep.join(users)


def _project() -> Path | None:
    """`None` when that would be the home or a folder above it: what the user has installed is there too."""
    try:
        here = Path.cwd()
    except OSError:  # it was removed
        return None
    home = Path(os.path.realpath(os.path.expanduser("~")))  # noqa: PTH111 - a user without a home is not an error here
    around = list(filter(has_mark, (here, *here.parents)))
    inside = (folder for folder in (*reversed(around), here) if not home.is_relative_to(folder))
    return next(inside, None)


def version_of(program: Path | str, *, timeout_s: float = 20.0) -> str | None:
    """What `PROGRAM --version` prints; `None` when it does not start, prints no version or takes longer. It gets no
    key of the user's, and does not start in the working folder, whose files many programs obey.

    Some write files to the home first, so it gets an empty one; one that tells nothing there may be a version
    manager's, which looks into the user's."""
    import tempfile  # `runbook check` finds a program and asks none

    with tempfile.TemporaryDirectory(prefix="runbook-home-", ignore_cleanup_errors=True) as home:
        said = _asked_for_version(program, home, timeout_s)
    if said == "" and (own := os.environ.get("HOME")):
        said = _asked_for_version(program, own, timeout_s)
    return said or None


def _asked_for_version(program: Path | str, home: str, timeout_s: float) -> str | None:
    """Empty when it printed no version; `None` when it did not start or end."""
    import subprocess

    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment = {**kept, "HOME": home, "PATH": search_path()}
    try:
        ran = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env=environment,
            cwd="/",
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = VERSION.search(ran.stdout)
    return match[0] if match else ""
