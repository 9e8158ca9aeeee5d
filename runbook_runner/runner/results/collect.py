"""Runner: brings home what a sandbox holds: `/app/results`, then the agent's own session files."""

from collections import Counter
from pathlib import Path, PurePosixPath

from runbook_runner.agents.base import Agent
from runbook_runner.core import settings
from runbook_runner.core.errors import NotReadyError, RecordingError
from runbook_runner.core.events import Emit, Log
from runbook_runner.core.files import shown
from runbook_runner.core.redaction import Redactor
from runbook_runner.core.spec import RunSpec
from runbook_runner.sandbox.base import Received, ResultsTooLargeError, Sandbox
from runbook_runner.trajectory.artifacts import ArtifactLog, Kind, Scrubber
from runbook_runner.trajectory.store import RESULTS, SESSIONS

MAX_SESSION_BYTES = 256 << 20
MAX_SESSION_FILES = 2000
_MAX_SKIPPED = 20


def collect(
    sandbox: Sandbox,
    spec: RunSpec,
    agent: Agent,
    *,
    trajectory_id: str,
    folder: Path,
    redactor: Redactor,
    emit: Emit,
) -> None:
    """Raises ResultsTooLargeError, when all that fitted is in place and recorded; RecordingError when the disk is full
    and the sandbox shall stay."""
    log = ArtifactLog(
        folder,
        collection=spec.collection,
        task=spec.task,
        trajectory_id=trajectory_id,
        primary=spec.primary_outputs,
        emit=emit,
    )
    taker = _Taker(sandbox, folder, redactor, log, emit)
    try:
        taker.take("result", settings.RESULTS, RESULTS, spec.limits.results_bytes, spec.limits.results_files)
    finally:
        if agent.sessions:
            taker.take_sessions(agent.sessions)
        if agent.session_db:
            taker.take_database(agent.session_db)


class _Taker:
    def __init__(self, sandbox: Sandbox, folder: Path, redactor: Redactor, log: ArtifactLog, emit: Emit):
        self._sandbox = sandbox
        self._folder = folder
        self._redactor = redactor
        self._log = log
        self._emit = emit

    def take(self, kind: Kind, source: str, into: str, max_bytes: int, max_files: int) -> None:
        scrub = Scrubber(self._redactor, kind)
        target = self._folder / into
        try:
            received = self._sandbox.get(source, target, max_bytes=max_bytes, max_files=max_files, scrub=scrub)
        except NotReadyError as full:
            raise RecordingError(
                full.message, hint="Make room; the next `runbook run`, or `runbook clean`, brings the results home."
            ) from full
        except ResultsTooLargeError as error:
            self._record(kind, into, error.received, scrub)
            raise
        self._record(kind, into, received, scrub)

    def take_sessions(self, source: str) -> None:
        """Too many of them cost the run nothing but the rest."""
        try:
            self.take("agent", source, SESSIONS, MAX_SESSION_BYTES, MAX_SESSION_FILES)
        except ResultsTooLargeError as error:
            self._emit(Log(level="warning", message=str(error)))

    def take_database(self, source: str) -> None:
        """What can't be read of it costs the run nothing but that."""
        import sqlite3

        from runbook_runner.runner.results.session_files import take_rows

        name = f"{PurePosixPath(source).stem}.jsonl"
        target = self._folder / SESSIONS / name
        try:
            hits = take_rows(
                self._sandbox,
                source,
                target,
                self._redactor,
                run_id=self._folder.name,
                max_bytes=MAX_SESSION_BYTES,
            )
        except (ResultsTooLargeError, NotReadyError, sqlite3.Error) as error:
            self._emit(Log(level="warning", message=f"Not all collected: {SESSIONS}/{name}: {error}"))
            hits = Counter()
        if hits is not None and target.is_file():
            self._log.add("agent", f"{SESSIONS}/{name}", f"/logs/agent/{name}", hits)

    def _record(self, kind: Kind, into: str, received: Received, scrub: Scrubber) -> None:
        for file in sorted(received.files, key=lambda file: file.path):
            said = file.sandbox_path if kind == "result" else f"/logs/agent/{file.path}"
            self._log.add(kind, f"{into}/{file.path}", said, scrub.hits.get(file.path, Counter()))
        for path, reason in received.skipped[:_MAX_SKIPPED]:
            self._emit(Log(level="warning", message=f"Not collected: {into}/{shown(path)}: {reason}."))
        if len(received.skipped) > _MAX_SKIPPED:
            self._emit(Log(level="warning", message=f"{len(received.skipped) - _MAX_SKIPPED} more were not collected."))
