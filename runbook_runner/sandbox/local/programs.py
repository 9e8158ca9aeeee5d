"""Bubblewrap sandbox: programs of this machine outside /usr, such as an agent CLI in the user's home."""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_SEEN = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/")
"""What every bubblewrap sandbox sees."""


@dataclass(frozen=True)
class Tool:
    name: str
    program: str
    """The real file, links resolved."""
    needs: tuple[str, ...]
    """Files and folders that must be visible for it to work. Others beside them may be private."""


def find_tools(names: Iterable[str]) -> tuple[Tool, ...]:
    """Returns the programs (a name: on PATH) that exist and that the sandbox does not see by itself."""
    found = []
    for name in names:
        where = shutil.which(name)  # a path stays itself
        program = os.path.realpath(where) if where else ""
        if program and not program.startswith(_SEEN):
            found.append(Tool(Path(name).name, program, tuple(map(str, _needs(Path(program))))))
    return tuple(found)


def _needs(program: Path) -> tuple[Path, ...]:
    """Returns for a program from npm what was installed with it; for one in a virtual environment of Python that
    environment and its Python; otherwise the program alone."""
    if "node_modules" in program.parts:
        return (Path(*program.parts[: program.parts.index("node_modules") + 1]),)
    environment = program.parent.parent
    if (environment / "pyvenv.cfg").is_file():
        python = (environment / "bin" / "python").resolve()
        return (environment, *(() if str(python).startswith(_SEEN) else (python.parent.parent,)))
    return (program,)
