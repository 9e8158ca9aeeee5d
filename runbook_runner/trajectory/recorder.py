"""Trajectory: the recorder. Appends each event to `events.jsonl` as it happens, then hands it to the readers."""

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from runbook_runner.core.clock import now_iso
from runbook_runner.core.errors import RecordingError
from runbook_runner.core.events import Event, Recorded
from runbook_runner.core.redaction import Redactor

EVENTS_FILE = "events.jsonl"
Reader = Callable[[Recorded], None]


class Recorder:
    """Appends to one run's log; safe to call from several threads. Nothing reaches a file or a reader unredacted."""

    def __init__(self, folder: Path, redactor: Redactor, readers: Sequence[Reader] = (), first_seq: int = 1):
        self._path = folder / EVENTS_FILE
        self.redactor = redactor
        self._readers = list(readers)
        self._seq = first_seq
        self._lock = threading.RLock()
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def append(self, event: Event) -> None:
        """Raises RecordingError when the line can't be written; earlier lines are intact then."""
        clean = type(event).model_validate(self.redactor.json(event.model_dump(mode="json")))
        with self._lock:
            recorded = Recorded(seq=self._seq, ts=now_iso(), event=clean)
            self._write(recorded.line().encode("utf-8", "backslashreplace") + b"\n")
            self._seq += 1
            self._notify(recorded)

    def _write(self, line: bytes) -> None:
        end = os.fstat(self._file).st_size
        try:
            written = 0
            while written < len(line):
                written += os.write(self._file, line[written:])
        except BaseException as error:
            os.ftruncate(self._file, end)
            if not isinstance(error, OSError):
                raise
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> RecordingError:
        return RecordingError(
            f"The run can't be recorded any more: {error.strerror}.",
            where=str(self._path),
            hint="Make room on this disk, or point RUNBOOK_HOME to another one. All events until now are kept.",
        )

    def _notify(self, recorded: Recorded) -> None:
        for reader in list(self._readers):
            try:
                reader(recorded)
            except BrokenPipeError:  # the reader has gone; the run goes on
                self._readers.remove(reader)
            except OSError as error:
                raise self._unwritable(error) from error

    def close(self) -> None:
        with self._lock:
            os.close(self._file)
