"""Bubblewrap sandbox: programs of this machine that lie outside /usr, such as an agent CLI in somebody's home."""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_SEEN = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/")
"""What every bubblewrap sandbox sees anyway."""


@dataclass(frozen=True)
class Tool:
    name: str
    program: str
    """The real file, links resolved."""
    needs: tuple[str, ...]
    """Files and folders that must be visible for it to work, and no more: its neighbours may be private."""


def find_tools(names: Iterable[str]) -> tuple[Tool, ...]:
    """Those that are there (a name: on PATH) and not visible anyway; what is not there at all is left out."""
    found = []
    for name in names:
        where = shutil.which(name)  # a path stays itself
        program = os.path.realpath(where) if where else ""
        if program and not program.startswith(_SEEN):
            found.append(Tool(Path(name).name, program, tuple(map(str, _needs(Path(program))))))
    return tuple(found)


def _needs(program: Path) -> tuple[Path, ...]:
    """From npm: what was installed with it. In a virtual environment of Python: that, and the Python it stands on.
    Else the program alone."""
    if "node_modules" in program.parts:
        return (Path(*program.parts[: program.parts.index("node_modules") + 1]),)
    environment = program.parent.parent
    if (environment / "pyvenv.cfg").is_file():
        python = (environment / "bin" / "python").resolve()
        return (environment, *(() if str(python).startswith(_SEEN) else (python.parent.parent,)))
    return (program,)
