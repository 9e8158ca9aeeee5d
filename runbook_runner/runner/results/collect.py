"""Runner: collects from a sandbox: `/app/results`, then the agent's own session files."""

import sqlite3
from collections import Counter
from pathlib import Path, PurePosixPath

from runbook_runner.agents.base import Agent
from runbook_runner.core import settings
from runbook_runner.core.errors import NotReadyError, RecordingError
from runbook_runner.core.events import REDACTION, Emit, Log, Redacted
from runbook_runner.core.redaction import Redactor
from runbook_runner.core.spec import RunSpec
from runbook_runner.core.text import printable_name
from runbook_runner.runner.results.session_files import collect_rows
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
    work: Path,
    redactor: Redactor,
    emit: Emit,
) -> None:
    """folder: the trajectory's. work: that of the run's claim. Raises ResultsTooLargeError for too many or too large
    results: those that fitted are in place and recorded. Raises RecordingError when this machine's disk is full: the
    sandbox must stay then."""
    log = ArtifactLog(
        folder,
        collection=spec.collection,
        task=spec.task,
        trajectory_id=trajectory_id,
        primary=spec.primary_outputs,
        emit=emit,
    )
    collector = _Collector(sandbox, folder, work, redactor, log, emit, has_secrets=bool(spec.secrets))
    try:
        collector.collect("result", settings.RESULTS, RESULTS, spec.limits.results_bytes, spec.limits.results_files)
    finally:
        if agent.sessions:
            collector.collect_sessions(agent.sessions)
        if agent.session_db:
            collector.collect_database(agent.session_db)


class _Collector:
    def __init__(
        self,
        sandbox: Sandbox,
        folder: Path,
        work: Path,
        redactor: Redactor,
        log: ArtifactLog,
        emit: Emit,
        *,
        has_secrets: bool,
    ):
        self._sandbox = sandbox
        self._folder = folder
        self._work = work
        self._redactor = redactor
        self._log = log
        self._emit = emit
        self._has_secrets = has_secrets

    def collect(self, kind: Kind, source: str, into: str, max_bytes: int, max_files: int) -> None:
        scrub = Scrubber(self._redactor, kind)
        target = self._folder / into
        try:
            received = self._sandbox.get(source, target, max_bytes=max_bytes, max_files=max_files, scrub=scrub)
        except NotReadyError as full:
            raise RecordingError(
                full.message, hint="Free disk space; the next `runbook run`, or `runbook clean`, collects the results."
            ) from full
        except ResultsTooLargeError as error:
            self._record(kind, into, error.received, scrub)
            raise
        self._record(kind, into, received, scrub)

    def collect_sessions(self, source: str) -> None:
        """Too many session files are a warning, not a failure of the run."""
        try:
            self.collect("agent", source, SESSIONS, MAX_SESSION_BYTES, MAX_SESSION_FILES)
        except ResultsTooLargeError as error:
            self._emit(Log(level="warning", message=str(error)))

    def collect_database(self, source: str) -> None:
        """A database that can't be read is a warning, not a failure of the run."""
        name = f"{PurePosixPath(source).stem}.jsonl"
        target = self._folder / SESSIONS / name
        if f"{SESSIONS}/{name}" in self._log.paths or target.is_dir():
            message = f"Not collected: {SESSIONS}/{name}: a session file has the same name."
            self._emit(Log(level="warning", message=message))
            return
        try:
            hits = collect_rows(
                self._sandbox,
                source,
                target,
                self._redactor,
                work=self._work,
                max_bytes=MAX_SESSION_BYTES,
            )
        except (ResultsTooLargeError, NotReadyError, sqlite3.Error) as error:
            self._emit(Log(level="warning", message=f"Not all collected: {SESSIONS}/{name}: {error}"))
            hits = Counter()
        if hits is not None and target.is_file():
            self._log.add("agent", f"{SESSIONS}/{name}", f"/logs/agent/{name}", hits)

    def _record(self, kind: Kind, into: str, received: Received, scrub: Scrubber) -> None:
        for file in sorted(received.files, key=lambda file: file.path):
            path = file.sandbox_path if kind == "result" else f"/logs/agent/{file.path}"
            self._log.add(kind, f"{into}/{file.path}", path, scrub.hits.get(file.path, Counter()))
        for rule, count in scrub.names.items():
            self._emit(Redacted(where=f"names of files in {into}", rule=rule, count=count))
        if scrub.unsearched and self._has_secrets:
            message = _unsearched([f"{into}/{name}" for name in scrub.unsearched])
            self._emit(Log(level="warning", message=message, source=REDACTION))
        for path, reason in received.skipped[:_MAX_SKIPPED]:
            self._emit(Log(level="warning", message=f"Not collected: {into}/{printable_name(path)}: {reason}."))
        if len(received.skipped) > _MAX_SKIPPED:
            self._emit(Log(level="warning", message=f"{len(received.skipped) - _MAX_SKIPPED} more were not collected."))


def _unsearched(names: list[str]) -> str:
    named = ", ".join(printable_name(name) for name in names[:_MAX_SKIPPED])
    more = f" and {len(names) - _MAX_SKIPPED} more" if len(names) > _MAX_SKIPPED else ""
    return f"Packed or encrypted, so not searched for secrets: {named}{more}."
