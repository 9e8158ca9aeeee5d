"""Runner: one start of the agent: its process, its output turned into events, watched over until it ends."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from runbook_runner.agents import failures
from runbook_runner.agents.base import Agent, Assignment, Invocation, Result, StreamReader
from runbook_runner.core import settings
from runbook_runner.core.errors import RecordingError
from runbook_runner.core.events import AgentFinished, Emit, Log, Stop, ToolCalled
from runbook_runner.core.redaction import Redactor
from runbook_runner.core.spec import Limits
from runbook_runner.runner.cancellation import Cancellation
from runbook_runner.sandbox.base import Process, PutFile, Sandbox

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


@dataclass(frozen=True)
class Attempt:
    """What one start of the agent came to."""

    end: AgentFinished
    begun: bool
    """It had begun to work: a tool was called or a model answered, so a second start might do things twice."""


def attempt(job: Work, sandbox: Sandbox, deadline_s: float, given: Sequence[PutFile] = ()) -> Attempt:
    """Runs the agent to its end, whatever that is, and says how it ended. given: files that are not there yet, beside
    the agent's own. Raises what the sandbox raises."""
    invocation = job.agent.invoke(job.assignment)
    reader = job.agent.reader(job.assignment)
    process = sandbox.exec(
        invocation.argv,
        env={**job.environ, **job.secrets, **invocation.env},
        cwd=settings.APP,
        stdin=invocation.stdin,
        files=(*given, *_files(invocation, sandbox)),
        deadline_s=deadline_s,
    )
    watch, output = _Watch(process, reader, job), _Output(job, reader)
    with job.cancellation.stops_with(lambda: watch.end("cancel")), watch:
        output.follow(process, watch)
    exit_ = process.wait()
    result = reader.result(exit_.code)
    late = exit_.ended_by == "deadline"
    left = reader.waits or watch.waited_in_vain or (late and reader.finished)
    why = watch.why or ("finished" if left else None)
    end = _finished(job, exit_.code, late, why, result, output.stderr)
    if left and why == "finished":
        message = f"{job.agent.name} had said its last word, and was ended with what it had started in the background."
        job.emit(Log(level="warning", message=message))
    return Attempt(end, output.begun or bool(job.session and job.session.usage.api_calls))


def _files(invocation: Invocation, sandbox: Sandbox) -> list[PutFile]:
    """On the host nobody else may read them; in a container they are root's, and the image may run as somebody else."""
    mode = 0o600 if sandbox.backend == "host" else 0o644
    return [PutFile(path, content, mode) for path, content in invocation.files.items()]


class _Output:
    """Feeds the reader, keeps the log, remembers what the end has to know."""

    def __init__(self, job: Work, reader: StreamReader):
        self.stderr: list[str] = []
        """Its last lines."""
        self.begun = False
        self._job = job
        self._reader = reader

    def follow(self, process: Process, watch: "_Watch") -> None:
        """Until the output ends."""
        folder = self._job.log_folder
        try:
            with (folder / "stdout.log").open("a") as out, (folder / "stderr.log").open("a") as err:
                self._log(process, watch, {"stdout": out, "stderr": err})
        except OSError as error:  # also what was not yet written when the file is closed
            raise RecordingError(
                f"What the agent says can't be recorded: {error.strerror}.",
                where=str(folder),
                hint="Make room; the next `runbook run`, or `runbook clean`, brings home what it has made.",
            ) from error
        for event in self._reader.rest():
            self._job.emit(event)

    def _log(self, process: Process, watch: "_Watch", logs: Mapping[str, TextIO]) -> None:
        for stream, line in _lines_of(process, {"stdout": _Lines(), "stderr": _Lines()}):
            watch.alive()
            logs[stream].write(self._job.redactor.clean(line) + "\n")
            logs[stream].flush()
            self._take(stream, line)

    def _take(self, stream: str, line: str) -> None:
        if stream == "stderr":
            self.stderr = [*self.stderr[1 - _KEPT_STDERR_LINES :], line]
            return
        # Without a model to ask, any output is work.
        self.begun = self.begun or self._job.session is None
        for event in self._reader.feed(line):
            self.begun = self.begun or isinstance(event, ToolCalled)
            self._job.emit(event)


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
        self.waited_in_vain = False
        """The agent had said its last word, and what it waited for did not end."""
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
            done = self._reader.finished and not self._asking  # who asks a model after all has more to do
            self._finished_at = (self._finished_at or now) if done else None
            if self._finished_at is not None:
                if now - self._finished_at > FINISH_GRACE_S:
                    return self.end("finished")
            elif self._idle(now):
                self.waited_in_vain = self._reader.waits
                return self.end("finished" if self.waited_in_vain else "idle")
        return None

    @property
    def _asking(self) -> bool:
        return bool(self._job.session and self._job.session.busy)

    def _idle(self, now: float) -> bool:
        session = self._job.session
        if self._asking:
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
    elif deadline and why != "finished":
        ended_by, error, kind = "deadline", f"Agent exceeded timeout_sec ({job.limits.timeout_s:g}).", "timeout"
    elif why == "idle":
        ended_by, error, kind = "idle", f"The agent gave no sign of life for {job.limits.idle_s:g} s.", "stalled"
    _compare_usage(job, result)
    if error is None and _stop(job) == "length":
        job.emit(Log(level="warning", message="The model's last answer was cut off at its output limit."))
    return AgentFinished(
        exit_code=code, ended_by=ended_by, text=result.text, usage=result.usage, error=error, error_kind=kind
    )


def _agent_error(
    job: Work, code: int | None, result: Result, stderr: list[str], *, left_by_itself: bool
) -> tuple[str | None, str | None]:
    """What the gateway knows is nearer to the cause than what the CLI makes of it."""
    failure = job.session.failure if job.session else None
    if failure and (result.error or code or failure.kind == "budget"):
        return failure.message, failures.of_gateway(failure.kind)
    stop = _stop(job)
    if stop == "refusal" or (stop and (result.error or code)):
        return result.error or "The model refused to go on.", failures.OF_STOP[stop]
    if result.error and result.error_kind != "crashed":
        return _with_providers_words(job, result.error, result.error_kind)
    if result.error or (code and left_by_itself):
        said = [result.error or f"{job.agent.binary} ended with exit code {code}.", *stderr]
        return _with_providers_words(job, "\n".join(said), _crash_kind(job.agent, "\n".join(said)))
    return None, None


def _stop(job: Work) -> Stop | None:
    last = job.session.last if job.session else None
    return last.stop if last and last.whole else None


def _with_providers_words(job: Work, error: str, kind: str | None) -> tuple[str, str | None]:
    """Some CLIs keep to themselves what the provider said: a used-up quota looks like a rate limit then."""
    last = job.session.last if job.session else None
    if last is None or not last.error or not last.status:
        return error, kind
    told = failures.classify(last.error, last.status)
    return (error if last.error in error else f"{error}\nThe provider said: {last.error}"), told or kind


def _crash_kind(agent: Agent, said: str) -> str:
    """Some CLIs tell why they give up on stderr only. What a runbook's own scripts print there says nothing."""
    if agent.dialect is None and not agent.errors:
        return "crashed"
    return failures.classify(said, extra=agent.errors) or "crashed"


def _compare_usage(job: Work, result: Result) -> None:
    """Two counts of the same tokens; a difference is shown, never hidden."""
    if job.session is None or result.usage is None:
        return
    for what in ("prompt_tokens", "completion_tokens", "cache_read_tokens", "cache_write_tokens"):
        seen, told = getattr(job.session.usage, what), getattr(result.usage, what)
        if seen != told:
            message = f"{what}: the gateway counted {seen}, {job.agent.name} reports {told}."
            job.emit(Log(level="warning", message=message))
    seen, told = job.session.usage.cost_usd, result.usage.cost_usd
    if job.session.source == "provider" and seen is not None and told is not None and abs(seen - told) > seen / 100:
        message = f"cost: ${seen:.4f} by the price table, ${told:.4f} as {job.agent.name} reports."
        job.emit(Log(level="warning", message=message))
