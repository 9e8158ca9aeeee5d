"""Session databases come from the sandbox: reading one ends, within bounds, and gives what it can."""

import json
import re
import shutil
import sqlite3
import struct
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from itertools import islice, permutations
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import pytest

from runbook_runner.core.redaction import Redactor, mark
from runbook_runner.runner.results import session_files
from runbook_runner.runner.results.session_files import collect_rows
from runbook_runner.sandbox.base import Received, Wanted
from runbook_runner.sandbox.extract import Extraction
from runbook_runner.sandbox.local.tree import fetch

Collect = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def collect(tmp_path: Path) -> Collect:
    """Makes a database by SQL, collects it, and returns the lines."""

    class Folder:
        """As a sandbox of this machine reads its folder."""

        def get(self, path: str, into: Path, wanted: Wanted) -> Received:
            extraction = Extraction(into, path, wanted)
            fetch(tmp_path, (Path(path).name,), extraction, path)
            return extraction.received()

    def run(
        *statements: str, max_bytes: int = 1 << 20, put: Mapping[Path, str] = MappingProxyType({}), **secrets: str
    ) -> list[dict[str, Any]]:
        database, target = tmp_path / "sessions.db", tmp_path / "out" / "rows.jsonl"
        with closing(sqlite3.connect(database)) as connection:
            for statement in ("CREATE TABLE said (text)", "INSERT INTO said VALUES ('hello')", *statements):
                connection.execute(statement)
            connection.commit()
        for path, name in put.items():
            (tmp_path / name).unlink(missing_ok=True)
            path.rename(tmp_path / name)
        work = tmp_path / f"work-{uuid4()}"  # its name is one of /dev/shm, too, for all tests at the same time
        work.mkdir()
        with suppress(sqlite3.Error):
            collect_rows(Folder(), str(database), target, Redactor(secrets), work=work, max_bytes=max_bytes)  # type: ignore[arg-type]
        if not target.is_file():
            return []
        assert target.stat().st_size <= max_bytes
        return [json.loads(line) for line in target.read_text().splitlines()]

    return run


def hot_journal(victim: Path) -> bytes:
    """What SQLite plays back when it is found beside a database, by the format of its rollback journals: it names a
    file, which is deleted then."""
    magic, name = bytes.fromhex("d9d505f920a163d7"), str(victim).encode()
    header = (magic + struct.pack(">5I", 0, 1234, 2, 512, 4096)).ljust(512, b"\0")
    ends = struct.pack(">II", len(name), sum(name)) + magic
    return header + struct.pack(">I", 0x40000000 // 4096 + 1) + name + ends


@pytest.mark.parametrize("name", ["sessions.db-journal", "database-journal"])
@pytest.mark.parametrize("place", ["sessions.db-wal", "sessions.db"])
def test_a_folder_in_the_place_of_a_file_brings_no_journal(
    collect: Collect, tmp_path: Path, place: str, name: str
) -> None:
    """SQLite would delete the file that the journal names, wherever it is."""
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    victim.write_text("mine")
    folder.mkdir()
    (folder / name).write_bytes(hot_journal(victim))
    rows = collect(put={folder: place})
    assert victim.read_text() == "mine"
    assert rows == []


def test_a_log_that_a_killed_program_has_left_is_read(collect: Collect, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE said (text)")
        connection.execute("INSERT INTO said VALUES ('from the log')")
        connection.commit()
        for end in ("", "-wal"):
            shutil.copy(tmp_path / f"other.db{end}", tmp_path / f"kept{end}")
    put = {tmp_path / f"kept{end}": f"sessions.db{end}" for end in ("", "-wal")}
    assert collect(put=put) == [{"table": "said", "row": {"text": "from the log"}}]


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
        max_bytes=64 << 20,
    )
    assert HELLO in rows
    assert {"table": "last", "row": {"text": "bye"}} in rows
    assert {"table": "last", "row": {"text": None}} in rows


def test_thousands_of_tables_are_not_read(collect: Collect) -> None:
    statements = (f"CREATE TABLE t{number} (a)" for number in range(1000))
    assert collect(*statements) == []


def endless_schema() -> tuple[str, str]:
    """SQLite compares each `UNIQUE` with all before it, and nothing can interrupt it meanwhile."""
    pairs = [f"UNIQUE(c{a}, c{b})" for a, b in islice(permutations(range(300), 2), 60_000)]
    columns = ", ".join([*(f"c{number}" for number in range(300)), *pairs])
    return "PRAGMA writable_schema = ON", f"UPDATE sqlite_master SET sql = 'CREATE TABLE said ({columns})'"


@pytest.mark.timeout(60)
def test_a_schema_that_takes_minutes_to_parse_is_given_up(collect: Collect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_files, "_LONGEST_S", 1)
    before = time.process_time()
    assert collect(*endless_schema(), max_bytes=4 << 20) == []
    assert time.process_time() - before < 5


@pytest.mark.skipif(sys.platform != "linux", reason="Elsewhere a limit of CPU time ends it.")
def test_the_process_that_reads_ends_with_a_runner_that_is_killed(
    tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    database = tmp_path / "database"
    with closing(sqlite3.connect(database)) as connection:
        for statement in ("CREATE TABLE said (text)", *endless_schema()):
            connection.execute(statement)
        connection.commit()
    runner = subprocess.Popen([sys.executable, "-c", START, database], stdout=subprocess.PIPE, text=True)
    assert runner.stdout
    child = Path(f"/proc/{int(runner.stdout.readline())}")
    try:
        eventually(lambda: re.search(r"Max cpu time +31 ", (child / "limits").read_text()))
    finally:
        runner.kill()
        runner.communicate(timeout=60)
    eventually(lambda: not runs(child), within=5)


def runs(process: Path) -> bool:
    try:
        return "\nState:\tZ" not in (process / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


START = """
import sys
from pathlib import Path
from runbook_runner.runner.results.session_files import _started
with _started(Path(sys.argv[1])) as child:
    print(child.pid, flush=True)
    child.wait()
"""


def test_long_statements_of_a_schema_are_not_kept_in_memory(collect: Collect) -> None:
    tables = [f"CREATE TABLE t{number} (a /*{'x' * 900_000}*/)" for number in range(40)]
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    rows = collect(*tables, max_bytes=64 << 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows == [HELLO]
    assert peak - before < 16 << 20


@pytest.mark.parametrize(
    "disguise",
    [
        (),
        pytest.param(
            (
                "PRAGMA writable_schema = ON",
                "UPDATE sqlite_master SET sql = replace(sql, 'CREATE VIRTUAL', 'CREATE/**/VIRTUAL')",
            ),
            marks=pytest.mark.skipif(sqlite3.sqlite_version_info < (3, 37), reason="SQLite has no table_list"),
        ),
    ],
    ids=["plain", "disguised"],
)
def test_search_indexes_are_left_out(collect: Collect, disguise: tuple[str, ...]) -> None:
    """Code of a virtual table would run over what the file holds."""
    rows = collect(
        "CREATE VIRTUAL TABLE words USING fts5(text)",
        "INSERT INTO words VALUES ('hidden')",
        "CREATE VIEW seen AS SELECT * FROM words",
        *disguise,
    )
    assert rows == [HELLO]
