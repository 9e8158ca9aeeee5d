"""Runner: the variables of this machine that a run may take values from, and who has set them.

Values live in memory only. What the user has set, in the environment or a file named with `--env-file`, may be
anything; a `.env` beside a runbook came with it and holds values of secrets that the runbook declares, nothing else
(contract §9.1 and docs/security.md).
"""

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from runbook_runner.core.authority import only_from_user
from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.disk.repository import is_no_project
from runbook_runner.core.errors import InputError
from runbook_runner.core.files import read_stream, read_text, text_of
from runbook_runner.core.text import Nearest

if TYPE_CHECKING:
    from dotenv.parser import Original

Warn = Callable[[str], None]
_NAME: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_ALIKE: Final = 0.8
_MOST_BESIDE: Final = 1 << 16
"""Characters. Each is a secret's, for which all that a run leaves is searched."""


class UserVariables(NamedTuple):
    """Name → value, by where the user has set it."""

    environment: Mapping[str, str]
    env_file: Mapping[str, str]

    def all(self) -> dict[str, str]:
        """Those of the file take precedence."""
        return {**self.environment, **self.env_file}


def user_variables(env_file: Path | None = None) -> UserVariables:
    """Raises InputError with `file:line` for a line that sets no variable."""
    given = _values(read_text(env_file, "environment file"), env_file) if env_file else {}
    return UserVariables(dict(os.environ), given)


def variables_beside(
    folder: Path | None, declared: Iterable[str], warn: Warn, environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The declared secrets that the `.env` of a runbook's folder sets. environ: what the user has set. warn: gets a
    message for each line that sets no variable, for what such a file can't set, for a name that is nearly a declared
    one, and for a file that is not read, such as one in the home: it may be the user's own. Raises InputError for a
    file that is too large or not text."""
    wanted = set(declared)
    path = folder / ".env" if folder else None
    text = _regular_text(path, warn) if path else None
    if path is None or text is None:
        return {}
    if wanted and is_no_project(Path(os.path.realpath(path.parent))):
        warn(f"{path} is not read: it may be your own, and not the runbook's. If you mean it, name it with --env-file.")
        return {}
    if len(text) > _MOST_BESIDE:
        raise InputError(f"The environment file has more than {_MOST_BESIDE >> 10} KB.", where=str(path))
    values = _values(text, path, warn)
    for name in filter(only_from_user, values):
        warn(f"{path}: {name}{_leading_to(values[name])} is not used: set it in the environment or with --env-file.")
    lacking = [name for name in wanted if name not in values and not (environ or {}).get(name)]
    for warning in misspelt(path, values, wanted, lacking):
        warn(warning)
    return {name: value for name, value in values.items() if name in wanted and not only_from_user(name)}


def misspelt(file: Path, names: Iterable[str], declared: Collection[str], lacking: Collection[str]) -> Iterator[str]:
    """Yields a warning for each name in a file that is nearly that of a declared secret without a value. lacking: the
    names of those."""
    nearest = Nearest()
    for name in names if lacking else ():
        near = nearest(name, lacking, cutoff=_ALIKE) if name not in declared and _NAME.fullmatch(name) else None
        if near:
            yield f"{file}: {name} is not a secret of this runbook, and {near} is not set. Did you mean {near!r}?"


def _values(text: str, path: Path, warn: Warn | None = None) -> dict[str, str]:
    from dotenv.parser import parse_stream

    bindings = list(parse_stream(StringIO(text, newline=None)))
    for binding in bindings:
        if binding.error:
            problem = _misspelt(path, binding.original)
            if warn is None:
                raise problem
            warn(" ".join(str(problem).splitlines()))
    return {binding.key: binding.value for binding in bindings if binding.key and binding.value}


def _misspelt(path: Path, original: "Original") -> InputError:
    text = original.string.lstrip()  # its value may be a secret: the message does not quote it
    line = original.line + original.string[: len(original.string) - len(text)].count("\n")
    return InputError("This line sets no variable.", where=f"{path}:{line}", hint="Write NAME=value, and close quotes.")


def _leading_to(value: str) -> str:
    """The host of an address, for a message: an address itself may hold a password."""
    try:
        parts = urlsplit(value)
        where = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
    except ValueError:
        return ""
    return f" (it leads to {where})" if parts.scheme in ("http", "https") and where else ""


def _regular_text(path: Path, warn: Warn) -> str | None:
    """`None` for a file that is missing or not read: a link may lead to any file of this machine."""
    try:
        with open_regular(path) as file:
            return text_of(read_stream(file, str(path), "environment file"), str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        warn(f"{path} is not read: {error.strerror}. Name the file itself with --env-file.")
        return None
