"""Runner: collects an agent's session database as lines of JSON: secrets can be removed from text, not from SQLite."""

import json
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Generator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, Final

from runbook_runner.core.apart.process import started
from runbook_runner.core.disk.private import FOLDER, private_opener
from runbook_runner.core.files import make_folder
from runbook_runner.core.formats.json_toml import plain_json
from runbook_runner.core.redaction import Redactor
from runbook_runner.sandbox.base import Sandbox, Wanted
from runbook_runner.sandbox.temp_folders import memory_folder

_LOG: Final = "-wal"  # holds the last writes until the program closes the database
_PROGRAM: Final = Path(__file__).with_name("session_program.py").read_text("utf-8")
_LONGEST_S: Final = 30  # of reading: the file comes from the sandbox and may be hostile
_TOO_LARGE: Final = "its rows take more space than results may"

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
        closing(_rows(database, max_bytes)) as rows,
        open(target, "w", encoding="utf-8", opener=private_opener) as file,
    ):
        for table, row in rows:
            redacted = {name: _redacted(value, redactor, hits) for name, value in row.items()}
            line = json.dumps(redactor.json({"table": table, "row": plain_json(redacted)})) + "\n"  # names and numbers
            max_bytes -= len(line)
            if max_bytes < 0:  # each row repeats the names, which may be long
                raise sqlite3.DataError(_TOO_LARGE)
            file.write(line)
    return hits


def _rows(database: Path, longest: int) -> Generator[tuple[str, Row], None, None]:
    """Reads them in a process of its own, which can be ended: SQLite parses some schemas for minutes, and no handler
    is called then. longest: of a row, in bytes. Raises `sqlite3.DataError` when there are rows that can't be read."""
    with _started(database) as child:
        assert child.stdout
        while (line := child.stdout.readline(longest)).endswith(b"\n"):
            said = json.loads(line)
            if "problem" not in said:
                yield said["table"], said["row"]
            elif said["problem"] is None:
                return
            else:
                raise sqlite3.DataError(said["problem"])
        if len(line) == longest:
            raise sqlite3.DataError(_TOO_LARGE)
        raise sqlite3.DataError(f"reading it takes longer than {_LONGEST_S} s, or too much memory")


def _started(database: Path) -> "AbstractContextManager[subprocess.Popen[bytes]]":
    return started(_PROGRAM, f"{database.as_uri()}?mode=ro", seconds=_LONGEST_S)


def _redacted(value: Any, redactor: Redactor, hits: Counter[str]) -> Any:
    if not isinstance(value, str):
        return value
    text, found = redactor.text(value)
    hits.update(found)
    return text
