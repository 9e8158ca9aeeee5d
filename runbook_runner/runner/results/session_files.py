"""Runner: collects an agent's session database as lines of JSON: secrets can be removed from text, not from SQLite."""

import base64
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any, Final

from runbook_runner.core.disk.private import FOLDER, private_opener
from runbook_runner.core.files import make_folder
from runbook_runner.core.redaction import Redactor
from runbook_runner.sandbox.base import Sandbox
from runbook_runner.sandbox.temp_folders import memory_folder

_LOG: Final = "-wal"  # holds the last writes until the program closes the database
_LONGEST_S: Final = 30.0  # of reading: the file comes from the sandbox and may be hostile
_STEPS: Final = 100_000

Row = dict[str, Any]


def collect_rows(
    sandbox: Sandbox, source: str, target: Path, redactor: Redactor, *, work: Path, max_bytes: int
) -> Counter[str] | None:
    """Writes every row as a line `{"table": …, "row": {…}}` to the file `target`. Returns how often each rule of the
    redactor matched; `None` when there is no such database. source: its path in the sandbox. work: that of the
    run's claim. Raises ResultsTooLargeError, and `sqlite3.Error` for a file that is not a database: the rows read
    before are in the file then."""
    with memory_folder(work) as folder:
        copies = folder / "copies"
        for path in (source, source + _LOG):
            sandbox.get(path, copies, max_bytes=max_bytes, max_files=1)
        database = copies / PurePosixPath(source).name
        return _write(database, target, redactor) if database.is_file() else None


def _write(database: Path, target: Path, redactor: Redactor) -> Counter[str]:
    hits: Counter[str] = Counter()
    make_folder(target.parent, FOLDER)
    with (
        closing(sqlite3.connect(database)) as connection,
        open(target, "w", encoding="utf-8", opener=private_opener) as file,
    ):
        for table, row in _rows(connection):
            redacted = {name: _redacted(value, redactor, hits) for name, value in row.items()}
            file.write(json.dumps({"table": table, "row": redacted}) + "\n")
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
    """Names of all tables but those of search indexes, whose words are in other tables, and SQLite's own."""
    found = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY rowid").fetchall()
    indexes = tuple(f"{name}_" for name, sql in found if str(sql).upper().startswith("CREATE VIRTUAL"))
    hidden = (*indexes, "sqlite_")
    return [name for name, sql in found if f"{name}_" not in indexes and not name.startswith(hidden)]


def _redacted(value: Any, redactor: Redactor, hits: Counter[str]) -> Any:
    if isinstance(value, bytes):
        value = _as_text(value)
    if not isinstance(value, str):
        return value
    text, found = redactor.text(value)
    hits.update(found)
    return text


def _as_text(data: bytes) -> str:
    """Base64 for bytes that are not UTF-8: the redactor finds a known secret in that form, too."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return base64.b64encode(data).decode()
