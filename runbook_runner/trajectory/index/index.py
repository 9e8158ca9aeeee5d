"""Trajectory, index: an SQLite file in the user's data folder, brought up to date at each use.

It is never believed. At each use task folders that have changed are listed again: their times, that of the last change
of the folder itself among them, which nobody can set, and their inode are compared, and so are those of the runs in
them. Runs that were not over, and the newest NEWEST of all, are held against their files, and so is every row before it
is shown. So of all runs a file that was written anew (as this program writes) is seen at once; one that was changed in
its place is seen in the newest runs and in each row that is shown, but a filter goes by what an older one said before.
An index that is missing, damaged or of another version is made again; where it can't be written, one in memory does."""

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from runbook_runner.core import ids
from runbook_runner.core.disk.private import private_folder, private_opener
from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.settings import user_data
from runbook_runner.trajectory.folders import TRAJECTORIES
from runbook_runner.trajectory.index.own_runs import known_since, stamp_of
from runbook_runner.trajectory.index.rows import Read, Row, is_fresh, read_row, times_of

FOLDER: Final = "index"
NEWEST: Final = 1000
_VERSION = 9
_PATIENCE_S = 5.0
_BATCH = 2000
_TIMES = 5  # that rows which change while they are read are read again
_COLUMNS = ", ".join(Row._fields)
_SCHEMA = f"""
CREATE TABLE tasks (path TEXT PRIMARY KEY, times TEXT, racy INTEGER) WITHOUT ROWID;
CREATE TABLE own (folder TEXT, inode TEXT, stamp TEXT, PRIMARY KEY (folder, inode)) WITHOUT ROWID;
CREATE TABLE own_read (inode TEXT, end INTEGER);
CREATE TABLE runs ({_COLUMNS}, PRIMARY KEY (folder));
CREATE TABLE labels (folder TEXT, key TEXT, value TEXT, PRIMARY KEY (folder, key)) WITHOUT ROWID;
CREATE INDEX by_created ON runs (dated, folder, outcome);
CREATE INDEX by_task ON runs (collection, task, times, id);
CREATE INDEX by_id ON runs (id);
CREATE INDEX by_status ON runs (status, dated);
CREATE INDEX by_outcome ON runs (outcome, dated);
CREATE INDEX by_model ON runs (model, dated);
CREATE INDEX by_agent ON runs (agent, dated);
CREATE INDEX by_name ON runs (task, collection, dated);
CREATE INDEX by_own ON runs (is_own, dated, folder, outcome);
CREATE INDEX by_unsettled ON runs (unsettled) WHERE unsettled;
CREATE INDEX by_label ON labels (key, value, folder);
PRAGMA user_version = {_VERSION};
"""

_OWN = """EXISTS (SELECT 1 FROM own WHERE own.folder = runs.folder AND own.inode = runs.inode
    AND own.stamp IN ('', runs.stamp))"""
"""As `own_runs.note_of` has it."""
_Found = TypeVar("_Found")


def outcome_in(count: int) -> str:
    """The condition for runs of so many outcomes. The latest of several are found along the time: the `+` keeps SQLite
    from collecting all of them to sort them."""
    return f"{'+' if count > 1 else ''}outcome IN ({', '.join('?' * count)})"


def index_path(home: Path, data: Path) -> Path:
    """Of the index of a home. It lies in the user's data, as what is in a home may have come with a clone."""
    digest = hashlib.sha256(os.path.realpath(home).encode("utf-8", "surrogateescape")).hexdigest()
    return data / FOLDER / f"{digest[:32]}.sqlite"


def with_index(home: Path, use: Callable[["Index"], _Found], data: Path | None = None) -> _Found:
    """Returns what `use` says of the index of a home, brought up to date. It is called again with another index when
    the first turns out to be damaged."""
    data = data or user_data()
    path = index_path(home, data)
    for tried in range(2):
        try:
            with _opened(path) as database, closing(database):
                index = Index(home, database, data)
                index.refresh()
                return use(index)
        except (sqlite3.Error, NotReadyError, OSError) as error:
            if tried or not _is_damaged(error):
                break
            remove_index(path)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.executescript(_SCHEMA)
        index = Index(home, database, data)
        index.refresh()
        return use(index)


def rebuilt(home: Path, data: Path | None = None) -> int:
    """Makes the index anew; returns how many runs there are."""
    remove_index(index_path(home, data or user_data()))
    return with_index(home, lambda index: index.count("1", ()), data)


def remove_index(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        with suppress(OSError):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


def _is_damaged(error: Exception) -> bool:
    """A lock, a full disk and a closed folder are no damage."""
    if isinstance(error, sqlite3.OperationalError):
        return "no such" in str(error) or "disk I/O" in str(error) or "readonly" in str(error)
    return isinstance(error, sqlite3.DatabaseError)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Raises NotReadyError, OSError, sqlite3.Error."""
    private_folder(path.parent.parent, FOLDER)
    os.close(private_opener(str(path), os.O_RDWR | os.O_CREAT))
    database = sqlite3.connect(path, timeout=_PATIENCE_S, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = OFF")  # it is a cache
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version != _VERSION:
            _make(database)
        yield database
    except BaseException:
        database.close()
        raise


def _make(database: sqlite3.Connection) -> None:
    """Another process may be about to do the same."""
    database.execute("BEGIN IMMEDIATE")
    with _transaction(database):
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version == _VERSION:
            return
        names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (name,) in names:
            database.execute(f'DROP TABLE "{name}"')
        for statement in _SCHEMA.split(";"):
            database.execute(statement)


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        raise


class Index:
    """The runs of one home."""

    def __init__(self, home: Path, database: sqlite3.Connection, data: Path):
        """data: the user's data folder."""
        self.top = str(home / TRAJECTORIES)
        self._home, self._database, self._data = home, database, data

    # --- keeping it true ---------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Raises sqlite3.Error."""
        known = {path: (times, racy) for path, times, racy in self._all("SELECT * FROM tasks")}
        found = dict(_tasks(self.top))
        for path in known.keys() - found.keys():
            self._forget_task(path)
        for path, times in found.items():
            if known.get(path) != (times, 0):
                self._list(path, times)
        self._look_again()
        self._read_own()  # last: a run is noted before there is anything to list

    def _list(self, path: str, times: str) -> None:
        """Takes the runs of a task folder anew, as far as their own folders have changed."""
        now = time.time_ns()
        collection, task = path.split("/")
        # Before the folder is listed: what another process has added since is not gone.
        known = dict(self._all("SELECT id, times FROM runs WHERE collection = ? AND task = ?", (collection, task)))
        there = dict(_runs(f"{self.top}/{path}"))
        self._forget(f"{path}/{name}" for name in known.keys() - there.keys())
        self._read([f"{path}/{name}" for name, times in there.items() if known.get(name) != times])
        racy = int(is_fresh(times, now))
        self._database.execute("INSERT OR REPLACE INTO tasks VALUES (?, ?, ?)", (path, times, racy))

    def _read_own(self) -> None:
        """Takes over what was noted of own runs since the last time."""
        inode, end = next(iter(self._all("SELECT inode, end FROM own_read")), ("0", 0))
        known = known_since(self._home, self._data, int(inode), end)
        if (known.inode, known.end) == (int(inode), end):
            return
        with self._writing():
            if known.begin == 0:  # it is another file
                self._database.execute("DELETE FROM own")
                self._database.execute("UPDATE runs SET is_own = 0")
            last = {(note.folder, str(note.inode)): note for note in known.notes}  # of each place and inode
            own = [(*key, note.stamp) for key, note in last.items() if note.how != "gone"]
            gone = [key for key, note in last.items() if note.how == "gone"]
            self._database.executemany("DELETE FROM own WHERE folder = ? AND inode = ?", gone)
            self._database.executemany("INSERT OR REPLACE INTO own VALUES (?, ?, ?)", own)
            noted = [(folder,) for folder, _ in last]
            self._database.executemany(f"UPDATE runs SET is_own = {_OWN} WHERE folder = ?", noted)
            self._database.execute("DELETE FROM own_read")
            self._database.execute("INSERT INTO own_read VALUES (?, ?)", (str(known.inode), known.end))
        seen = "SELECT 1 FROM runs WHERE folder = ? AND NOT is_own"
        self._read([folder for folder, *_ in own if self._all(seen, (folder,))])  # before they were written and noted

    def _read(self, folders: Sequence[str]) -> None:
        for begin in range(0, len(folders), _BATCH):
            some = folders[begin : begin + _BATCH]
            self._keep(some, [read for folder in some if (read := read_row(self.top, folder))])

    def _keep(self, folders: Iterable[str], found: Iterable[Read]) -> None:
        with self._writing():
            self._delete(folders)
            marks = ", ".join("?" * len(Row._fields))
            self._database.executemany(f"INSERT OR REPLACE INTO runs VALUES ({marks})", (read.row for read in found))
            mine = f"UPDATE runs SET is_own = {_OWN} WHERE folder = ?"
            self._database.executemany(mine, ((read.row.folder,) for read in found))
            pairs = ((read.row.folder, key, value) for read in found for key, value in read.labels.items())
            self._database.executemany("INSERT OR REPLACE INTO labels VALUES (?, ?, ?)", pairs)

    def _forget(self, folders: Iterable[str]) -> None:
        gone = list(folders)
        if gone:
            with self._writing():
                self._delete(gone)

    def _delete(self, folders: Iterable[str]) -> None:
        for table in ("runs", "labels"):
            self._database.executemany(f"DELETE FROM {table} WHERE folder = ?", ((folder,) for folder in folders))

    def _forget_task(self, path: str) -> None:
        collection, task = path.split("/")
        rows = self._all("SELECT folder FROM runs WHERE collection = ? AND task = ?", (collection, task))
        self._forget(folder for (folder,) in rows)
        self._database.execute("DELETE FROM tasks WHERE path = ?", (path,))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        with _transaction(self._database):
            yield

    def _look_again(self) -> None:
        """Reads the runs again that were not over, and the newest, where their files are not as they were."""
        changed, now = [], time.time_ns()
        newest = f"SELECT folder FROM runs ORDER BY dated DESC, folder DESC LIMIT {NEWEST}"
        some = "SELECT folder, stamp, times, status, unsettled FROM runs WHERE"
        # With OR SQLite would go through all runs.
        for folder, stamp, times, status, unsettled in self._all(f"{some} unsettled UNION {some} folder IN ({newest})"):
            is_over = bool(unsettled) and status not in ("running", "pending") and not is_fresh(times, now)
            if is_over or stamp != stamp_of(f"{self.top}/{folder}"):
                changed.append(folder)
        self._read(changed)

    # --- asking it ---------------------------------------------------------------------------------------------------

    def rows(self, where: str, values: Sequence[Any], order: str, limit: int, offset: int = 0) -> list[Row]:
        """where, order: SQL of this program's own; values: for its marks. Each row is as its files are now."""
        sql = f"SELECT {_COLUMNS} FROM runs WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?"
        for _ in range(_TIMES):
            found = [Row(*row) for row in self._all(sql, (*values, limit, offset))]
            stale = [row.folder for row in found if row.stamp != stamp_of(f"{self.top}/{row.folder}")]
            if not stale:
                break
            self._read(stale)
        return found

    def count(self, where: str, values: Sequence[Any]) -> int:
        return int(self._all(f"SELECT count(*) FROM runs WHERE {where}", values)[0][0])

    def columns(self, names: str, where: str = "1", values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """names: SQL of this program's own, such as `DISTINCT task`."""
        return self._all(f"SELECT {names} FROM runs WHERE {where}", values)

    def labels(self, row: Row) -> dict[str, str]:
        return dict(self._all("SELECT key, value FROM labels WHERE folder = ? ORDER BY key", (row.folder,)))

    def known_labels(self, key: str | None = None) -> list[str]:
        """The keys of labels, or the values of that key; some hundred at most."""
        what, where, values = ("value", "key = ?", [key]) if key is not None else ("key", "1", [])
        return [text for (text,) in self._all(f"SELECT DISTINCT {what} FROM labels WHERE {where} LIMIT 500", values)]

    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._database.execute(sql, values).fetchall()


def _tasks(top: str) -> Iterator[tuple[str, str]]:
    """`collection/task` → the times of that folder. No link is followed."""
    for collection in _folders(top):
        for task in _folders(collection.path):
            with suppress(OSError):
                yield f"{collection.name}/{task.name}", times_of(task.stat(follow_symlinks=False))


def _runs(path: str) -> Iterator[tuple[str, str]]:
    for run in _folders(path):
        with suppress(OSError):
            yield run.name, times_of(run.stat(follow_symlinks=False))


def _folders(path: str) -> Iterator["os.DirEntry[str]"]:
    """Of names as this program gives; hidden ones are on their way in or out."""
    try:
        with os.scandir(path) as entries:
            yield from (entry for entry in entries if ids.is_name(entry.name) and entry.is_dir(follow_symlinks=False))
    except OSError:
        return
