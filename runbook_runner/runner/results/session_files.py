"""Runner: an agent's session database, brought home as lines of text: those can be cleaned of secrets, SQLite can't."""

import base64
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any, Final

from runbook_runner.core.redaction import Redactor
from runbook_runner.sandbox.base import Sandbox
from runbook_runner.sandbox.temp_folders import memory_folder

_LOG: Final = "-wal"  # what was written last is only there until the program ends in good order
_LONGEST_S: Final = 30.0  # of reading: the file is the sandbox's, and may be anything
_STEPS: Final = 100_000

Row = dict[str, Any]


def take_rows(
    sandbox: Sandbox, source: str, target: Path, redactor: Redactor, *, run_id: str, max_bytes: int
) -> Counter[str] | None:
    """Every row as a line `{"table": …, "row": {…}}` of the file `target`; how often each rule of the redactor hit.
    `None`: there is no such database. source: its path in the sandbox. Raises ResultsTooLargeError, `sqlite3.Error`
    for what is no database; the rows read before are in place."""
    with memory_folder(run_id) as folder:
        copies = folder / "copies"
        for path in (source, source + _LOG):
            sandbox.get(path, copies, max_bytes=max_bytes, max_files=1)
        database = copies / PurePosixPath(source).name
        return _write(database, target, redactor) if database.is_file() else None


def _write(database: Path, target: Path, redactor: Redactor) -> Counter[str]:
    hits: Counter[str] = Counter()
    target.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(database)) as connection, target.open("w", encoding="utf-8") as file:
        for table, row in _rows(connection):
            cleaned = {name: _cleaned(value, redactor, hits) for name, value in row.items()}
            file.write(json.dumps({"table": table, "row": cleaned}) + "\n")
    return hits


def _rows(connection: sqlite3.Connection) -> Iterator[tuple[str, Row]]:
    end = time.monotonic() + _LONGEST_S
    connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    for table in _tables(connection):
        quoted = table.replace('"', '""')
        cursor = connection.execute(f'SELECT * FROM "{quoted}"')  # noqa: S608
        names = [column[0] for column in cursor.description]
        for values in cursor:
            yield table, dict(zip(names, values, strict=True))


def _tables(connection: sqlite3.Connection) -> list[str]:
    """Without search indexes, whose words are in other tables, and without SQLite's own."""
    found = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY rowid").fetchall()
    indexes = tuple(f"{name}_" for name, sql in found if str(sql).upper().startswith("CREATE VIRTUAL"))
    hidden = (*indexes, "sqlite_")
    return [name for name, sql in found if f"{name}_" not in indexes and not name.startswith(hidden)]


def _cleaned(value: Any, redactor: Redactor, hits: Counter[str]) -> Any:
    if isinstance(value, bytes):
        value = _spelled(value)
    if not isinstance(value, str):
        return value
    text, found = redactor.text(value)
    hits.update(found)
    return text


def _spelled(data: bytes) -> str:
    """In base64 when it is no text: in that form, too, a known secret is found."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return base64.b64encode(data).decode()
