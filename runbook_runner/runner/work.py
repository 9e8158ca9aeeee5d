"""Runner: the agent's phase. Starts its process, turns its output into events, watches over it until it ends."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from runbook_runner import settings
from runbook_runner.agents import Agent, Assignment, Invocation, Result, StreamReader
from runbook_runner.events import AgentFinished, Emit, Log
from runbook_runner.redaction import Redactor
from runbook_runner.runner.cancellation import Cancellation
from runbook_runner.sandbox import Process, PutFile, Sandbox
from runbook_runner.spec import Limits

if TYPE_CHECKING:
    from runbook_runner.gateway import Session

FINISH_GRACE_S = 10.0  # a CLI that has said its last word gets so long to leave (field notes §5.1)
MAX_LINE = 16 << 20  # bytes of one output line; more is cut off
_KEPT_STDERR_LINES = 20

Why = Literal["idle", "cancel", "finished"]


@dataclass(frozen=True)
class Work:
    agent: Agent
    assignment: Assignment
    files: Sequence[PutFile]
    """The mission and the inputs."""
    secrets: Mapping[str, str]
    """Variables with secret values, for the agent's environment."""
    environ: Mapping[str, str]
    """Other variables, the same for every agent."""
    limits: Limits
    session: "Session | None"
    """Its model session; `None` when the agent needs no model."""
    log_folder: Path
    emit: Emit
    redactor: Redactor
    cancellation: Cancellation


def work(job: Work, sandbox: Sandbox) -> AgentFinished:
    """Runs the agent to its end, whatever that is, and says how it ended. Raises what the sandbox raises."""
    invocation = job.agent.invoke(job.assignment)
    sandbox.put([*job.files, *(PutFile(path, content) for path, content in invocation.files.items())])
    reader = job.agent.reader(job.assignment)
    process = _start(job, sandbox, invocation)
    watch = _Watch(process, reader, job)
    with job.cancellation.stops_with(lambda: watch.end("cancel")), watch:
        stderr = _follow(job, process, reader, watch)
    exit_ = process.wait()
    return _finished(job, exit_.code, exit_.ended_by == "deadline", watch.why, reader.result(exit_.code), stderr)


def _start(job: Work, sandbox: Sandbox, invocation: Invocation) -> Process:
    return sandbox.exec(
        invocation.argv,
        env={**job.environ, **job.secrets, **invocation.env},
        cwd=settings.APP,
        stdin=invocation.stdin,
        deadline_s=job.limits.timeout_s,
    )


def _follow(job: Work, process: Process, reader: StreamReader, watch: "_Watch") -> list[str]:
    """Feeds the reader until the output ends; gives back the last lines of stderr."""
    lines = {"stdout": _Lines(), "stderr": _Lines()}
    stderr: list[str] = []
    with (job.log_folder / "stdout.log").open("w") as out, (job.log_folder / "stderr.log").open("w") as err:
        logs = {"stdout": out, "stderr": err}
        for stream, line in _lines_of(process, lines):
            watch.alive()
            logs[stream].write(job.redactor.clean(line) + "\n")
            logs[stream].flush()
            if stream == "stderr":
                stderr = [*stderr[1 - _KEPT_STDERR_LINES :], line]
                continue
            for event in reader.feed(line):
                job.emit(event)
    return stderr


def _lines_of(process: Process, splitters: "dict[str, _Lines]") -> Iterator[tuple[str, str]]:
    for chunk in process:
        for line in splitters[chunk.stream].feed(chunk.data):
            yield chunk.stream, line
    for stream, splitter in splitters.items():
        for line in splitter.rest():
            yield stream, line


class _Lines:
    """Splits a byte stream into lines of text; a line over MAX_LINE is cut, not kept in memory."""

    def __init__(self) -> None:
        self._begun = bytearray()

    def feed(self, data: bytes) -> Iterator[str]:
        *whole, rest = data.split(b"\n")
        for piece in whole:
            yield self._text(self._begun + piece[:MAX_LINE])
            self._begun.clear()
        self._begun += rest[: max(0, MAX_LINE - len(self._begun))]

    def rest(self) -> Iterator[str]:
        if self._begun:
            yield self._text(self._begun)

    @staticmethod
    def _text(line: bytes | bytearray) -> str:
        return bytes(line).decode("utf-8", "replace").removesuffix("\r")


class _Watch(threading.Thread):
    """Ends a process that is stuck, cancelled, or done but not leaving. Context manager."""

    def __init__(self, process: Process, reader: StreamReader, job: Work):
        super().__init__(name="watch", daemon=True)
        self.why: Why | None = None
        self._process = process
        self._reader = reader
        self._job = job
        self._last_output = time.monotonic()
        self._finished_at: float | None = None
        self._over = threading.Event()

    def alive(self) -> None:
        self._last_output = time.monotonic()

    def end(self, why: Why) -> None:
        if self.why is None:
            self.why = why
            self._process.kill()

    def run(self) -> None:
        while not self._over.wait(0.2):
            now = time.monotonic()
            self._finished_at = (self._finished_at or now) if self._reader.finished else None
            if self._finished_at is not None:
                if now - self._finished_at > FINISH_GRACE_S:
                    return self.end("finished")
            elif self._idle(now):
                return self.end("idle")
        return None

    def _idle(self, now: float) -> bool:
        session = self._job.session
        if session and session.busy:
            return False
        last = max(self._last_output, session.last_activity if session else 0.0)
        return now - last > self._job.limits.idle_s

    def __enter__(self) -> "_Watch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def _finished(
    job: Work, code: int | None, deadline: bool, why: Why | None, result: Result, stderr: list[str]
) -> AgentFinished:
    ended_by: Literal["exit", "deadline", "idle", "cancel"] = "exit"
    error, kind = _agent_error(job, code, result, stderr, left_by_itself=why != "finished")
    if why == "cancel":
        ended_by, error, kind = "cancel", None, None
    elif deadline:
        ended_by, error, kind = "deadline", f"Agent exceeded timeout_sec ({job.limits.timeout_s:g}).", "timeout"
    elif why == "idle":
        ended_by, error, kind = "idle", f"The agent gave no sign of life for {job.limits.idle_s:g} s.", "stalled"
    _compare_usage(job, result)
    return AgentFinished(
        exit_code=code, ended_by=ended_by, text=result.text, usage=result.usage, error=error, error_kind=kind
    )


def _agent_error(
    job: Work, code: int | None, result: Result, stderr: list[str], *, left_by_itself: bool
) -> tuple[str | None, str | None]:
    """What the gateway knows is nearer to the cause than what the CLI makes of it."""
    failure = job.session.failure if job.session else None
    if failure and (result.error or code):
        return failure.message, failure.kind
    if result.error:
        return "\n".join([result.error, *(stderr if result.error_kind == "crashed" else [])]), result.error_kind
    if code and left_by_itself:
        return "\n".join([f"{job.agent.binary} ended with exit code {code}.", *stderr]), "crashed"
    return None, None


def _compare_usage(job: Work, result: Result) -> None:
    """Two counts of the same tokens; a difference is shown, never hidden."""
    if job.session is None or result.usage is None:
        return
    for what in ("prompt_tokens", "completion_tokens", "cache_read_tokens", "cache_write_tokens"):
        seen, told = getattr(job.session.usage, what), getattr(result.usage, what)
        if seen != told:
            message = f"{what}: the gateway counted {seen}, {job.agent.name} reports {told}."
            job.emit(Log(level="warning", message=message))
