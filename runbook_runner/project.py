"""What a project says in files of its own: a table in `.runbook/config.toml`, or below `[tool.runbook]` in
`pyproject.toml`."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from runbook_runner.errors import InputError

_PLACES = ((".runbook/config.toml", ()), ("pyproject.toml", ("tool", "runbook")))
# Nearly every project has a pyproject.toml, hardly any says a word to us in it, and to read one takes 10 ms.
_OURS = re.compile(rb"""tool["']?\s*\.\s*["']?runbook(?![\w-])|^\s*\[\s*["']?tool["']?\s*\]""", re.MULTILINE)


class Table(NamedTuple):
    path: str
    """The file it is in, for messages."""
    values: Mapping[str, Any]


def table_in(folder: Path, name: str) -> Table | None:
    """Of one folder; the first file that has it. Raises InputError with the file for what can't be read."""
    for place, above in _PLACES:
        path = str(folder / place)
        if os.path.isfile(path) and (values := _table(path, (*above, name))) is not None:  # noqa: PTH113 - it never raises
            return Table(path, values)
    return None


def _table(path: str, keys: tuple[str, ...]) -> Mapping[str, Any] | None:
    try:
        text = Path(path).read_bytes()
        if len(keys) > 1 and not _OURS.search(text):
            return None
        import tomllib  # only projects that have such a table pay for it

        value: Any = tomllib.loads(text.decode())
    except (OSError, ValueError) as error:  # of tomllib or of the encoding
        raise InputError(f"The settings can't be read: {error}.", where=path) from error
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if value is not None and not isinstance(value, dict):
        raise InputError(f"`{'.'.join(keys)}` must be a table.", where=path)
    return value
