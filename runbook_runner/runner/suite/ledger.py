"""Runner, suite: what an evaluation that is not over has done: a line for each run that has begun, one when it is done.

It lies in the user's own folder: one that comes with a clone could say that everything has passed.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from runbook_runner.core.disk.private import FILE
from runbook_runner.core.errors import NotReadyError, RecordingError
from runbook_runner.core.files import make_folder
from runbook_runner.runner.suite.row import Row

FOLDER = "evals"


class Ledger:
    """Used by one process at a time. Its methods raise RecordingError."""

    def __init__(self, path: Path, file: BinaryIO):
        self._path = path
        self._file = file
        self.rows: dict[str, Row] = {}
        """By cell."""
        self.begun: dict[str, Path] = {}
        """The trajectory folders of cells that have begun and have no row, so far as it is known."""
        self._folders = list[Path]()
        for line in file:
            self._read(line)

    def _read(self, line: bytes) -> None:
        with suppress(
            ValueError, KeyError, TypeError, ValidationError
        ):  # the last line of a killed process may be torn
            body = json.loads(line)
            if "row" in body:
                row = Row.model_validate(body["row"])
                self.rows[row.cell] = row
                self.begun.pop(row.cell, None)
            elif "dropped" in body:
                self.begun.pop(body["dropped"], None)
            else:
                folder = Path(body["folder"])
                self.begun[body["cell"]] = folder
                self._folders.append(folder)

    @property
    def unfinished(self) -> tuple[Path, ...]:
        """The trajectory folders of earlier runs that no row is of."""
        ended = {row.path for row in self.rows.values()}
        return tuple(folder for folder in self._folders if str(folder) not in ended)

    def begin(self, cell: str, folder: Path) -> None:
        self._write({"cell": cell, "folder": os.fspath(folder)})

    def drop(self, cell: str) -> None:
        """What came of the run that has begun does not count: it is made again."""
        self._write({"dropped": cell})

    def add(self, row: Row) -> None:
        self._write({"row": row.model_dump(mode="json")})
        self.rows[row.cell] = row

    def _write(self, body: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(body).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise RecordingError(f"The evaluation can't go on: {error.strerror}.", where=str(self._path)) from error

    def remove(self) -> None:
        """The evaluation is over."""
        self._path.unlink(missing_ok=True)


@contextmanager
def opened(data: Path, digest: str, *, fresh: bool) -> Iterator[Ledger]:
    """data: the user's folder. digest: of the plan. fresh: forgets what was done. Raises NotReadyError when another
    process has it, and RecordingError."""
    path = data / FOLDER / f"{digest}.jsonl"
    try:
        make_folder(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, FILE)
    except OSError as error:
        raise RecordingError(f"The evaluation can't be recorded: {error.strerror}.", where=str(path)) from error
    with os.fdopen(descriptor, "r+b") as file:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except OSError as error:
            raise NotReadyError("Another process is evaluating just this suite.", hint="Wait for it.") from error
        if fresh:
            file.truncate(0)
        yield Ledger(path, file)
