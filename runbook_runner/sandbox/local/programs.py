"""Bubblewrap sandbox: programs of this machine outside /usr, such as an agent CLI in the user's home, and what must be
visible for them to work. What they are part of may be private, so no folder is shown that holds more than they need."""

import os
import pwd
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.files import is_file
from runbook_runner.core.programs import find_program
from runbook_runner.core.settings import Settings

_SEEN: Final = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/")
"""What every bubblewrap sandbox sees."""
_SYSTEM: Final = ("/boot", "/dev", "/etc", "/proc", "/run", "/sys")
"""Nothing in them is shown because a program is there."""
_SHARED: Final = ("/home", "/media", "/mnt", "/opt", "/root", "/srv", "/var")
"""They hold what belongs to several; what is in them may be shown."""


@dataclass(frozen=True)
class Tool:
    name: str
    program: str
    """The real file, links resolved."""
    needs: tuple[str, ...]
    """Files and folders that must be visible for it to work. Others beside them may be private."""


def find_tools(names: Iterable[str]) -> tuple[Tool, ...]:
    """Returns the programs (a name: on PATH) that exist and that the sandbox does not see by itself. Raises
    NotReadyError for one that needs a folder which also holds what must stay hidden."""
    found = []
    for name in names:
        where = find_program(name)
        program = os.path.realpath(where) if where else ""
        if is_file(program) and not program.startswith(_SEEN):
            found.append(Tool(Path(name).name, program, tuple(map(str, _shown(Path(program))))))
    return tuple(found)


def _shown(program: Path) -> Iterator[Path]:
    for place in _needs(program):
        if _holds_hidden(place) or any(place.is_relative_to(folder) for folder in _SYSTEM):
            raise NotReadyError(
                f"bubblewrap would have to show the agent all of {place} for {program} to work.",
                hint="Install the program into a folder of its own, or use --sandbox docker.",
            )
        yield place


def _needs(program: Path) -> tuple[Path, ...]:
    """Returns for a program from npm what was installed with it; for one in a virtual environment of Python that
    environment and its Python; otherwise the program alone."""
    if "node_modules" in program.parts:
        return (Path(*program.parts[: program.parts.index("node_modules") + 1]),)
    environment = program.parent.parent
    if (environment / "pyvenv.cfg").is_file():
        python = Path(os.path.realpath(environment / "bin" / "python"))
        if str(python).startswith(_SEEN):
            return (environment,)
        home = python.parent.parent
        return (environment, home if any(home.glob("lib*/python3*/os.py")) else python)
    return (program,)


def _holds_hidden(place: Path) -> bool:
    """Whether it is, or lies above, a folder of which no sandbox sees all."""
    return place.parent == Path("/home") or any(folder.is_relative_to(place) for folder in _hidden())


def _hidden() -> Iterator[Path]:
    settings = Settings.load()
    users: list[str | Path] = [os.path.expanduser("~")]  # noqa: PTH111 - a user without a home is not an error here
    with suppress(KeyError):
        users.append(pwd.getpwuid(os.getuid()).pw_dir)
    with suppress(OSError):  # it was removed
        users.append(Path.cwd())
    for place in (*users, settings.data, settings.home, tempfile.gettempdir(), *_SYSTEM, *_SHARED):
        yield Path(os.path.realpath(place))
