"""Runner: one process of the agent CLI: its output becomes events, a watch ends it when it is stuck."""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from runbook_runner.agents.base import Invocation, StreamReader
from runbook_runner.core import settings
from runbook_runner.core.disk.private import private_opener
from runbook_runner.core.errors import RecordingError, SandboxError
from runbook_runner.core.events import DOUBT, AgentFinished, AgentNotice, Event, Log, ToolCalled
from runbook_runner.runner.agent.doubts import ToolCalls, doubts
from runbook_runner.runner.agent.end import Why, finished, most_output
from runbook_runner.runner.agent.launch import Launch
from runbook_runner.sandbox.backends import find_backend
from runbook_runner.sandbox.base import Process, PutFile, Sandbox

FINISH_GRACE_S = 10.0  # from a CLI's final record until it is ended (field notes §5.1)
_LOOK_S = 0.2  # between two looks at a process
_LONGEST_LOOK_S = 1.0  # what is longer is no silence: this process did not run
MAX_LINE = 16 << 20  # bytes of one output line; more is cut off
_EACH_LINE = 100  # bytes that a line counts beside its text
_EACH_EVENT = 1000  # the same of each event that is made of it: the record of a run is folded in memory
_KEPT_STDERR_LINES = 20
_MAX_NOTICE = 2000  # characters


@dataclass(frozen=True)
class ProcessEnd:
    end: AgentFinished
    has_worked: bool
    """A tool was called or a model answered, so a second start might do things twice."""
    hopeless: bool
    """Its model would refuse a second start as well."""


def run_process(launch: Launch, sandbox: Sandbox, deadline_s: float, files: Sequence[PutFile] = ()) -> ProcessEnd:
    """Starts the agent CLI and returns how it ended. files: what is put into the sandbox beside the agent's own files.
    Raises what the sandbox raises."""
    invocation = launch.agent.invoke(launch.agent_input)
    reader = launch.agent.reader(launch.agent_input)
    deadline = time.monotonic() + deadline_s
    process = sandbox.exec(
        invocation.argv,
        env={**launch.environ, **launch.secrets, **invocation.env},
        cwd=settings.APP,
        stdin=invocation.stdin,
        files=(*files, *_files(invocation, sandbox)),
        deadline_s=deadline_s,
    )
    watch, output = _Watch(process, reader, launch, deadline), _Output(launch, reader, deadline)
    with launch.cancellation.stops_with(lambda: watch.end("cancel")), watch:
        output.follow(process, watch)
    exit_ = process.wait()
    result = reader.result(exit_.code)
    late = exit_.ended_by == "deadline"
    left = watch.gave_up_waiting or (output.done_in_time if late else reader.waits)
    why = watch.why or ("finished" if left else None)
    end = finished(launch, exit_.code, late, why, result, output.stderr)
    if end.ended_well:
        for doubt in doubts(launch, result, output.tools):
            launch.emit(Log(level="warning", message=doubt, source=DOUBT))
    if left and why == "finished":
        message = f"{launch.agent.name} had finished; it was ended together with its background processes."
        launch.emit(Log(level="warning", message=message))
    session = launch.session
    has_worked = output.has_worked or bool(session and session.usage.api_calls)
    return ProcessEnd(end, has_worked, hopeless=bool(session and session.hopeless))


def _files(invocation: Invocation, sandbox: Sandbox) -> list[PutFile]:
    """Without isolation only this user may read them. In a container root owns them, and the image may run as another
    user."""
    mode = 0o644 if find_backend(sandbox.backend).isolates else 0o600
    return [PutFile(path, content, mode) for path, content in invocation.files.items()]


def _log_file(path: Path) -> TextIO:
    return open(path, "a", encoding="utf-8", errors="backslashreplace", opener=private_opener)


class _Output:
    """Feeds the reader, writes the logs, keeps the end of stderr."""

    def __init__(self, launch: Launch, reader: StreamReader, deadline: float):
        """deadline: in monotonic time."""
        self.done_in_time = False
        """The final record came before the deadline; at the deadline, an agent that is asked to end may write one."""
        self.stderr: list[str] = []
        """The beginnings of the last lines."""
        self.has_worked = False
        self.tools = ToolCalls()
        self._left = most_output(launch.limits)
        """Bytes that may still be recorded."""
        self._launch = launch
        self._reader = reader
        self._deadline = deadline

    def follow(self, process: Process, watch: "_Watch") -> None:
        """Returns when the output ends."""
        folder = self._launch.log_folder
        try:
            with _log_file(folder / "stdout.log") as out, _log_file(folder / "stderr.log") as err:
                self._log(process, watch, {"stdout": out, "stderr": err})
        except OSError as error:  # closing a file writes what was buffered
            raise RecordingError(
                f"The agent's output can't be recorded: {error.strerror}.",
                where=str(folder),
                hint="Free disk space; the next `runbook run`, or `runbook clean`, collects the results.",
            ) from error
        except SandboxError:
            self._take_rest()
            raise
        self._take_rest()

    def _take_rest(self) -> None:
        for event in _tolerant(self._reader.rest(), ""):
            self._launch.emit(event)

    def _log(self, process: Process, watch: "_Watch", logs: Mapping[str, TextIO]) -> None:
        splitters = {stream: _Lines() for stream in logs}
        for chunk in process:
            self._write(chunk.stream, splitters[chunk.stream].feed(chunk.data), watch, logs[chunk.stream])
        for stream, splitter in splitters.items():
            self._write(stream, splitter.rest(), watch, logs[stream])

    def _write(self, stream: str, lines: Iterable[tuple[str, int]], watch: "_Watch", log: TextIO) -> None:
        for line, cut in lines:
            watch.saw_output()
            self._left -= len(line) + _EACH_LINE
            if self._left >= 0:
                text = self._launch.agent.logged(line) if stream == "stdout" else f"{line}\n"
                log.write(self._launch.redactor.clean(text))
                if cut:
                    message = f"A line on the agent's {stream} was cut after {MAX_LINE:,} bytes; it had {cut:,} more."
                    self._launch.emit(Log(level="warning", message=message))
                self._take(stream, line)
            if self._left < 0:
                watch.end("output")  # what it still prints until then is dropped
        log.flush()

    def _take(self, stream: str, line: str) -> None:
        if stream == "stderr":
            self.stderr = [*self.stderr[1 - _KEPT_STDERR_LINES :], line[:_MAX_NOTICE]]
            return
        # Without a model to ask, any output is work.
        self.has_worked = self.has_worked or self._launch.session is None
        for number, event in enumerate(_tolerant(self._reader.feed(line), line)):
            self.has_worked = self.has_worked or isinstance(event, ToolCalled)
            self.tools.note(event)
            self._left -= _EACH_EVENT + (len(line) if number else 0)  # a declared agent may have many rules for a line
            if self._left < 0:
                return
            self._launch.emit(event)
        if time.monotonic() < self._deadline:
            self.done_in_time = self._reader.finished or self._reader.waits


def _tolerant(events: Iterator[Event], line: str) -> Iterator[Event]:
    """The events of a line. A line that makes its reader fail, a bug, becomes a notice: what an agent
    prints must not end the run."""
    while True:
        try:
            event = next(events, None)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            event = AgentNotice(kind="unreadable", payload=f"{type(error).__name__}: {line[:_MAX_NOTICE]}")
            events = iter(())
        if event is None:
            return
        yield event


class _Lines:
    """Splits a byte stream into lines of text, each with the number of bytes that were cut off its end. A line over
    MAX_LINE is cut, not kept in memory."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._cut = 0

    def feed(self, data: bytes) -> Iterator[tuple[str, int]]:
        *whole, rest = data.split(b"\n")
        for piece in whole:
            self._add(piece)
            yield self._end()
        self._add(rest)

    def rest(self) -> Iterator[tuple[str, int]]:
        if self._line:
            yield self._end()

    def _add(self, piece: bytes) -> None:
        room = MAX_LINE - len(self._line)
        self._line += piece[:room]
        self._cut += max(0, len(piece) - room)

    def _end(self) -> tuple[str, int]:
        ended = bytes(self._line).decode("utf-8", "replace").removesuffix("\r"), self._cut
        self._line.clear()
        self._cut = 0
        return ended


class _Watch(threading.Thread):
    """Ends a process that is stuck, cancelled, or finished but does not exit. At the deadline the sandbox does. Context
    manager."""

    def __init__(self, process: Process, reader: StreamReader, launch: Launch, deadline: float):
        super().__init__(name="watch", daemon=True)
        self.why: Why | None = None
        self.gave_up_waiting = False
        """The final record had come, and what the agent waited for did not end."""
        self._process = process
        self._reader = reader
        self._launch = launch
        self._deadline = deadline
        self._last_output = self._looked = time.monotonic()
        self._silent_s = 0.0
        self._finished_at: float | None = None
        self._done = threading.Event()

    def saw_output(self) -> None:
        self._last_output = time.monotonic()

    def end(self, why: Why) -> None:
        if self.why is None:
            self.why = why
            self._process.kill()

    def run(self) -> None:
        while not self._done.wait(_LOOK_S) and (now := time.monotonic()) < self._deadline:
            self._count_silence(now)
            done = self._reader.finished and not self._asking  # an agent that still asks a model goes on
            self._finished_at = (self._finished_at or now) if done else None
            if self._finished_at is not None:
                if now - self._finished_at > FINISH_GRACE_S:
                    return self.end("finished")
            elif self._launch.session and self._launch.session.hopeless:
                return self.end("refused")
            elif self._silent_s > self._launch.limits.idle_s:
                self.gave_up_waiting = self._reader.waits
                return self.end("finished" if self.gave_up_waiting else "idle")
        return None

    @property
    def _asking(self) -> bool:
        return bool(self._launch.session and self._launch.session.busy)

    def _count_silence(self, now: float) -> None:
        """Only while this process runs. When it was stopped, or its laptop slept, what the agent has said meanwhile is
        read before the next look."""
        session = self._launch.session
        last = max(self._last_output, session.last_activity if session else 0.0)
        if self._asking or last > self._looked:
            self._silent_s = 0.0
        else:
            self._silent_s += min(now - self._looked, _LONGEST_LOOK_S)
        self._looked = now

    def __enter__(self) -> "_Watch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()
