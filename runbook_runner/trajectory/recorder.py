"""Trajectory: the recorder. Appends each event to `events.jsonl` as it happens, then hands it to the readers."""

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from runbook_runner.core.clock import now_iso
from runbook_runner.core.disk.private import private_opener
from runbook_runner.core.errors import RecordingError
from runbook_runner.core.events import Event, Recorded
from runbook_runner.core.redaction import Redactor
from runbook_runner.trajectory.folders import EVENTS_FILE
from runbook_runner.trajectory.redacted import redacted

Reader = Callable[[Recorded], None]


class Recorder:
    """Appends to one run's log; safe to call from several threads. Nothing reaches a file or a reader unredacted."""

    def __init__(self, folder: Path, redactor: Redactor, readers: Sequence[Reader] = (), first_seq: int = 1):
        self._path = folder / EVENTS_FILE
        self.redactor = redactor
        self._readers = list(readers)
        self.broken_reader: Exception | None = None
        """The first exception of a reader, which gets no more events."""
        self._lock = threading.RLock()
        self._file = private_opener(str(self._path), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._next = (first_seq, os.fstat(self._file).st_size)
        """Number of the next line, and where it begins; one value, so that no interruption can part them."""

    def append(self, event: Event) -> None:
        """Raises RecordingError when the line can't be written; earlier lines are intact then."""
        clean = redacted(event, self.redactor)
        with self._lock:
            seq, begin = self._next
            recorded = Recorded(seq=seq, ts=now_iso(), event=clean)
            line = recorded.line().encode("utf-8", "backslashreplace") + b"\n"
            self._write(line, begin)
            self._next = (seq + 1, begin + len(line))
            self._notify(recorded)

    def _write(self, line: bytes, begin: int) -> None:
        try:
            if os.fstat(self._file).st_size > begin:
                os.ftruncate(self._file, begin)
            written = 0
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError as error:
            os.ftruncate(self._file, begin)
            raise RecordingError.of(error, self._path) from error

    def is_in_place(self) -> bool:
        """Whether the log that is written is still the file of the trajectory folder."""
        try:
            return os.path.samestat(os.fstat(self._file), self._path.lstat())
        except OSError:
            return False

    def _notify(self, recorded: Recorded) -> None:
        for reader in list(self._readers):
            try:
                reader(recorded)
            except RecordingError:
                raise
            except Exception as error:  # the run goes on without this reader
                self._readers.remove(reader)
                self.broken_reader = self.broken_reader or error

    def close(self) -> None:
        with self._lock:
            os.close(self._file)
