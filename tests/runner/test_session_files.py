"""Session databases come from the sandbox: reading one ends, within bounds, and gives what it can."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.core.redaction import Redactor, mark
from runbook_runner.runner.results.session_files import collect_rows
from runbook_runner.sandbox.base import Received, Wanted

Collect = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def collect(tmp_path: Path) -> Collect:
    """Makes a database by SQL, collects it, and returns the lines."""

    class Folder:
        def get(self, path: str, into: Path, _: Wanted) -> Received:
            into.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):
                shutil.copy(path, into)
            return Received()

    def run(*statements: str, max_bytes: int = 1 << 20, **secrets: str) -> list[dict[str, Any]]:
        database, target = tmp_path / "sessions.db", tmp_path / "out" / "rows.jsonl"
        with closing(sqlite3.connect(database)) as connection:
            for statement in ("CREATE TABLE said (text)", "INSERT INTO said VALUES ('hello')", *statements):
                connection.execute(statement)
            connection.commit()
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        with suppress(sqlite3.Error):
            collect_rows(Folder(), str(database), target, Redactor(secrets), work=work, max_bytes=max_bytes)  # type: ignore[arg-type]
        assert target.stat().st_size <= max_bytes
        return [json.loads(line) for line in target.read_text().splitlines()]

    return run


HELLO = {"table": "said", "row": {"text": "hello"}}


@pytest.mark.parametrize(
    "hostile",
    [
        ("CREATE TABLE t (a, b AS (zeroblob(1000000000)))", "INSERT INTO t VALUES (1)"),
        ("CREATE TABLE t (a, b AS (printf('%.900000000c', 'x')))", "INSERT INTO t VALUES (1)"),
        (
            "CREATE TABLE t (a, b AS (a GLOB '*a*a*a*a*a*a*a*a*a*a*b'))",
            "INSERT INTO t VALUES (replace(hex(zeroblob(5000)), '00', 'aa'))",
        ),
        ("CREATE VIEW t AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c",),
        ("CREATE TABLE t (a)", "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM said; END"),
    ],
    ids=["zeroblob", "printf", "glob", "view", "trigger"],
)
def test_what_is_computed_is_not(collect: Collect, hostile: tuple[str, ...]) -> None:
    rows = collect(*hostile)
    assert rows[0] == HELLO
    assert all("b" not in line["row"] for line in rows)


def test_secrets_are_removed_from_names_and_numbers_too(collect: Collect) -> None:
    token, pin = "canary_token_4711_4711", "83749201"
    rows = collect(f"CREATE TABLE {token} ({token})", f"INSERT INTO {token} VALUES ({pin})", TOKEN=token, PIN=pin)
    assert rows[1:] == [{"table": mark("TOKEN"), "row": {mark("TOKEN"): mark("PIN")}}]


def test_long_names_do_not_multiply(collect: Collect) -> None:
    name = "n" * 10_000
    many = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 10000) SELECT n FROM c"
    rows = collect(f"CREATE TABLE {name} ({name})", f"INSERT INTO {name} {many}")
    assert rows[0] == HELLO
    assert len(rows) > 10


def test_a_table_that_can_not_be_read_costs_the_others_nothing(collect: Collect) -> None:
    rows = collect(
        "CREATE TABLE broken (a)",
        "INSERT INTO broken VALUES (zeroblob(20000000))",
        "CREATE TABLE last (text)",
        "INSERT INTO last VALUES ('bye')",
        "INSERT INTO last VALUES (9e999)",
    )
    assert HELLO in rows
    assert {"table": "last", "row": {"text": "bye"}} in rows
    assert {"table": "last", "row": {"text": None}} in rows


def test_thousands_of_tables_are_not_read(collect: Collect) -> None:
    statements = (f"CREATE TABLE t{number} (a)" for number in range(1000))
    assert collect(*statements) == []
