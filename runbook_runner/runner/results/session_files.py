"""Runner: collects an agent's session database as lines of JSON: secrets can be removed from text, not from SQLite."""

import base64
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from runbook_runner.core.disk.private import FOLDER, private_opener
from runbook_runner.core.files import make_folder
from runbook_runner.core.formats.json_toml import plain_json
from runbook_runner.core.redaction import Redactor
from runbook_runner.sandbox.base import Sandbox, Wanted
from runbook_runner.sandbox.temp_folders import memory_folder

_LOG: Final = "-wal"  # holds the last writes until the program closes the database
_LONGEST_S: Final = 30.0  # of reading: the file comes from the sandbox and may be hostile
_STEPS: Final = 100_000
_LONGEST_VALUE: Final = 16 << 20  # bytes
_MOST_TABLES: Final = 1000
_ALLOWED: Final = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_PRAGMA)

Row = dict[str, Any]


def collect_rows(
    sandbox: Sandbox, source: str, target: Path, redactor: Redactor, *, work: Path, max_bytes: int
) -> Counter[str] | None:
    """Writes every row as a line `{"table": …, "row": {…}}` to the file `target`. Returns how often each rule of the
    redactor matched; `None` when there is no such database. source: its path in the sandbox. work: that of the
    run's claim. Raises `sqlite3.Error` for a file that is not a database or is too large: the rows read before are in
    the file then."""
    with memory_folder(work) as folder:
        database = folder / "database"
        for path, place in ((source, database), (source + _LOG, folder / f"database{_LOG}")):
            _fetch(sandbox, path, place, max_bytes)
        return _write(database, target, redactor, max_bytes) if database.is_file() else None


def _fetch(sandbox: Sandbox, path: str, place: Path, max_bytes: int) -> None:
    """Brings the file home under a name of ours: SQLite opens further files by the names of those it finds, and deletes
    what they name. A folder in its place is no database, whatever is in it."""
    aside = place.with_name(f"{place.name}-fetched")
    received = sandbox.get(path, aside, Wanted(max_bytes, max_files=1))
    if received.skipped:
        raise sqlite3.DataError(received.skipped[0][1])
    for file in received.files:
        if file.sandbox_path != path:
            raise sqlite3.DataError("a folder stands in its place")
        (aside / file.path).replace(place)


def _write(database: Path, target: Path, redactor: Redactor, max_bytes: int) -> Counter[str]:
    hits: Counter[str] = Counter()
    make_folder(target.parent, FOLDER)
    with (
        closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection,
        open(target, "w", encoding="utf-8", opener=private_opener) as file,
    ):
        for table, row in _rows(connection):
            redacted = {name: _redacted(value, redactor, hits) for name, value in row.items()}
            line = json.dumps(redactor.json({"table": table, "row": plain_json(redacted)})) + "\n"  # names and numbers
            max_bytes -= len(line)
            if max_bytes < 0:  # each row repeats the names, which may be long
                raise sqlite3.DataError("its rows take more space than results may")
            file.write(line)
    return hits


def _rows(connection: sqlite3.Connection) -> Iterator[tuple[str, Row]]:
    end = time.monotonic() + _LONGEST_S
    connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _LONGEST_VALUE)
    connection.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY)
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    problem: Exception | None = None
    for table in _tables(connection):
        try:
            yield from ((table, row) for row in _rows_of(connection, table))
        except (sqlite3.Error, ValueError) as error:  # a name that is not UTF-8, a value that is too long
            problem = problem or error
    if problem:
        raise sqlite3.DataError(str(problem))


def _rows_of(connection: sqlite3.Connection, table: str) -> Iterator[Row]:
    """What is stored: generated columns are not computed, and no function is called."""
    columns = connection.execute(f"PRAGMA table_xinfo({_quoted(table)})").fetchall()
    names = [str(column[1]) for column in columns if column[6] == 0]
    if names:
        cursor = connection.execute(f"SELECT {', '.join(map(_quoted, names))} FROM {_quoted(table)}")  # noqa: S608
        yield from (dict(zip(names, values, strict=True)) for values in cursor)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _tables(connection: sqlite3.Connection) -> list[str]:
    """Names of all tables but those of search indexes, whose words are in other tables, and SQLite's own. Raises
    `sqlite3.DataError` for too many."""
    every = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY rowid")
    found = every.fetchmany(_MOST_TABLES + 1)
    if len(found) > _MOST_TABLES:  # each is compared with every search index
        raise sqlite3.DataError(f"it has more than {_MOST_TABLES} tables")
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
