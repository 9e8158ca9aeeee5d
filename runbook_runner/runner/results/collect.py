"""Runner: collects from a sandbox: `/app/results`, then the agent's own session files."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path, PurePosixPath

from runbook_runner.agents.base import Agent
from runbook_runner.core import settings
from runbook_runner.core.errors import NotReadyError, RecordingError
from runbook_runner.core.events import DOUBT, REDACTION, Emit, Log, Redacted
from runbook_runner.core.redaction import Redactor
from runbook_runner.core.spec import RunSpec
from runbook_runner.core.text import printable_name
from runbook_runner.runner.results.session_files import collect_rows
from runbook_runner.sandbox.base import Received, Sandbox, Stamp, Wanted
from runbook_runner.trajectory.artifacts import ArtifactLog, Kind, Scrubber, unsearched_told
from runbook_runner.trajectory.folders import RESULTS, SESSIONS

MAX_SESSION_BYTES = 256 << 20
MAX_SESSION_FILES = 2000
_MAX_SKIPPED = 20
_MOST_REQUIRED = 100  # a call of the engine for each


def collect(
    sandbox: Sandbox,
    spec: RunSpec,
    agent: Agent | None,
    *,
    trajectory_id: str,
    folder: Path,
    work: Path,
    redactor: Redactor,
    emit: Emit,
    before: Mapping[str, Stamp] | None = None,
    edited: Mapping[str, str] | None = None,
) -> "Collected":
    """agent: whose session files are taken too. folder: the trajectory's. work: that of the run's claim. before: the
    results that were there before the agent started. edited: see `PreparedRun`. Raises RecordingError when this
    machine's disk is full: the sandbox must stay then."""
    log = ArtifactLog(
        folder,
        collection=spec.collection,
        task=spec.task,
        trajectory_id=trajectory_id,
        primary=spec.primary_outputs,
        emit=emit,
    )
    collector = _Collector(sandbox, folder, work, redactor, log, emit, has_secrets=bool(spec.secrets))
    wanted = Wanted(spec.limits.results_bytes, spec.limits.results_files, before=before or {})
    stamps = collector.collect_results(wanted, [output.path for output in spec.outputs])
    for path, name in (edited or {}).items():
        collector.collect("result", path, RESULTS, replace(wanted, below=name, before={}))
    if agent and agent.sessions:
        collector.collect("agent", agent.sessions, SESSIONS, Wanted(MAX_SESSION_BYTES, MAX_SESSION_FILES))
    if agent and agent.session_db:
        collector.collect_database(agent.session_db)
    return Collected(log, {**(before or {}), **stamps})


@dataclass(frozen=True)
class Collected:
    log: ArtifactLog
    stamps: Mapping[str, Stamp]
    """Sandbox path → stamp of the results that are there now, also of those that are not the agent's."""


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

    def collect_results(self, wanted: Wanted, required: Iterable[str]) -> dict[str, Stamp]:
        """What is required and was left out for a limit has the limit once more. Returns path → stamp of all of it."""
        received = self._fetch("result", settings.RESULTS, RESULTS, wanted)
        stamps = {file.sandbox_path: file.stamp for file in received.files}
        if received.skipped:
            stamps |= self._collect_required(received, wanted, required)
        left_out = [(path, reason) for path, reason in received.skipped if f"{settings.RESULTS}/{path}" not in stamps]
        self._tell_skipped("result", RESULTS, left_out, received.more_skipped)
        return stamps

    def _collect_required(self, received: Received, wanted: Wanted, required: Iterable[str]) -> dict[str, Stamp]:
        got, stamps = [file.sandbox_path for file in received.files], dict[str, Stamp]()
        for path in list(filter(None, map(_fixed_part, required)))[:_MOST_REQUIRED]:
            source = f"{settings.RESULTS}/{path}"
            if not any(name == source or name.startswith(f"{source}/") for name in got):
                more = self._fetch("result", source, RESULTS, replace(wanted, below=path))
                new = [item for item in more.skipped if item not in received.skipped]
                self._tell_skipped("result", RESULTS, new, more.more_skipped)
                stamps |= {file.sandbox_path: file.stamp for file in more.files}
                left = wanted.max_bytes - sum(file.size for file in more.files)
                wanted = replace(wanted, max_bytes=left, max_files=wanted.max_files - len(more.files))
        return stamps

    def collect(self, kind: Kind, source: str, into: str, wanted: Wanted) -> None:
        received = self._fetch(kind, source, into, wanted)
        self._tell_skipped(kind, into, received.skipped, received.more_skipped)

    def _fetch(self, kind: Kind, source: str, into: str, wanted: Wanted) -> Received:
        """Does not tell what is skipped."""
        scrub = Scrubber(self._redactor, kind)
        try:
            received = self._sandbox.get(source, self._folder / into, replace(wanted, scrub=scrub))
        except NotReadyError as full:
            raise RecordingError(
                full.message, hint="Free disk space; the next `runbook run`, or `runbook clean`, collects the results."
            ) from full
        self._record(kind, into, received, scrub)
        return received

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
        except (NotReadyError, sqlite3.Error) as error:
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
            message = unsearched_told([f"{into}/{name}" for name in scrub.unsearched])
            self._emit(Log(level="warning", message=message, source=REDACTION))

    def _tell_skipped(self, kind: Kind, into: str, skipped: Sequence[tuple[str, str]], more_skipped: int) -> None:
        source = DOUBT if kind == "result" else "runner"
        for path, reason in skipped[:_MAX_SKIPPED]:
            message = f"Not collected: {into}/{printable_name(path)}: {reason}."
            self._emit(Log(level="warning", message=message, source=source))
        if (more := max(0, len(skipped) - _MAX_SKIPPED) + more_skipped) > 0:
            self._emit(Log(level="warning", message=f"{more} more were not collected.", source=source))


def _fixed_part(required: str) -> str:
    """The path of a required output, of a pattern the folders before it; empty when nothing is fixed, or when it is
    not below the results."""
    parts = PurePosixPath(required).parts
    fixed = tuple(takewhile(lambda part: not any(letter in part for letter in "*?<{"), parts))
    return "" if ".." in fixed or required.startswith("/") else "/".join(fixed)
