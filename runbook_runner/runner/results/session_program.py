"""Run by `session_files.py` in a process of its own, with nothing but the standard library: reads the rows of a SQLite
database and writes each as a line of JSON. The last line says what could not be read."""

import base64
import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

LONGEST_VALUE = 16 << 20  # bytes
MOST_TABLES = 1000
HAS_TABLE_LIST = sqlite3.sqlite_version_info >= (3, 37)


def main() -> None:
    uri = sys.argv[1]
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            problem = write_rows(connection)
    except (sqlite3.Error, MemoryError) as error:
        problem = said(error)
    write({"problem": problem})


def write_rows(connection: sqlite3.Connection) -> str | None:
    """Returns the first error: a table that can't be read costs the others nothing."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, LONGEST_VALUE)
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    problem = None
    for table in tables(connection):
        try:
            for row in rows(connection, table):
                write({"table": table, "row": row})
        except (sqlite3.Error, MemoryError, ValueError) as error:  # ValueError: a name that is not UTF-8
            problem = problem or said(error)
    return problem


def tables(connection: sqlite3.Connection) -> list[str]:
    """Names of all tables but those of search indexes, whose words are in other tables, and SQLite's own. Raises
    `sqlite3.DataError` for too many."""
    allow(connection, sqlite3.SQLITE_PRAGMA)  # no SELECT: table_list would look into views and virtual tables
    listed = connection.execute("PRAGMA main.table_list").fetchall() if HAS_TABLE_LIST else []
    kinds = {name: kind for _, name, kind, *_ in listed}
    allow(connection, sqlite3.SQLITE_PRAGMA, sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ)
    every = connection.execute(
        "SELECT name, sql COLLATE NOCASE BETWEEN 'CREATE VIRTUAL' AND 'CREATE VIRTUAL~'"
        " FROM sqlite_master WHERE type = 'table' ORDER BY rowid"
    )
    found = every.fetchmany(MOST_TABLES + 1)
    if len(found) > MOST_TABLES:  # each is compared with every search index
        raise sqlite3.DataError(f"it has more than {MOST_TABLES} tables")
    if not HAS_TABLE_LIST:
        kinds = {name: "virtual" if virtual else "table" for name, virtual in found}
    hidden = ("sqlite_", *(f"{name}_" for name, kind in kinds.items() if kind == "virtual"))
    names = dict.fromkeys(name for name, _ in found)
    return [name for name in names if kinds.get(name) == "table" and not name.startswith(hidden)]


def allow(connection: sqlite3.Connection, *actions: int) -> None:
    connection.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in actions else sqlite3.SQLITE_DENY)


def rows(connection: sqlite3.Connection, table: str) -> Iterator[dict[str, Any]]:
    """What is stored: generated columns are not computed, and no function is called."""
    columns = connection.execute(f"PRAGMA table_xinfo({quoted(table)})").fetchall()
    names = [str(column[1]) for column in columns if column[6] == 0]
    if names:
        cursor = connection.execute(f"SELECT {', '.join(map(quoted, names))} FROM {quoted(table)}")  # noqa: S608
        for values in cursor:
            yield dict(zip(names, map(plain, values), strict=True))


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def plain(value: Any) -> Any:
    """Base64 for bytes that are not UTF-8: the redactor finds a known secret in that form, too."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


def said(error: Exception) -> str:
    return "it needs too much memory" if isinstance(error, MemoryError) else str(error)[:500]


def write(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
