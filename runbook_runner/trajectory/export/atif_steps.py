"""Trajectory: the steps of one agent in an ATIF document, which are complete one after the other."""

from collections import deque
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final

from pydantic_core import to_json

from runbook_runner.core.clock import moment
from runbook_runner.core.events import ModelCalled, ToolCalled, ToolReturned, Usage

_IN_MEMORY: Final = 8 << 20
_MOST_WAITING: Final = 1000
"""Steps that wait for the answers of their tools; an answer that comes later is a step of its own."""
_MOST_CALLS: Final = 1000
"""Of one step; further ones begin the next step."""
_MOST_CHARACTERS: Final = 8 << 20
"""Of all waiting steps, and of an open step."""
_PIECE: Final = 64
"""Counted for a piece of any length."""

Step = dict[str, Any]


@dataclass(eq=False)
class _Waiting:
    """A step to which something can still be added."""

    step: Step
    unanswered: dict[str, str] = field(default_factory=dict)
    """Ids of calls in the step → ids as the agent gave them."""
    size: int = 0
    """Characters of its text, roughly."""


@dataclass
class Made:
    """Model calls, summed."""

    count: int = 0
    usage: Usage | None = None
    model: str | None = None
    """Of all of them; `None`: there are several."""

    def add(self, call: ModelCalled) -> None:
        self.model = call.model if not self.count or self.model == call.model else None
        self.usage = call.usage if self.usage is None else self.usage + call.usage
        self.count += 1


class Written:
    """The steps that are complete, aside on disk when they are many."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed with the object
        self._end = 0
        self.waiting = 0
        """Characters of the steps of all agents that are not written yet, roughly."""

    def append(self, pieces: list[tuple[int, int]], text: bytes) -> None:
        """pieces: the begin and the end of each that was written for the same agent; it gets this one."""
        begin, self._end = self._end, self._end + len(text)
        self._file.write(text)
        if pieces and pieces[-1][1] == begin:
            begin, _ = pieces.pop()
        pieces.append((begin, self._end))

    def copy(self, pieces: list[tuple[int, int]], out: IO[bytes]) -> None:
        for begin, end in pieces:
            self._file.seek(begin)
            while begin < end:
                block = self._file.read(min(end - begin, 1 << 20))
                begin += len(block)
                out.write(block)
        self._file.seek(self._end)  # not before each write: it would empty the file's buffer


class Steps:
    """The steps of one agent. Messages, thoughts and calls become one step, which ends with a tool's answer."""

    def __init__(self, written: "Written"):
        """written: takes the steps of all agents of the document."""
        self.count = 0
        self._written = written
        self._pieces: list[tuple[int, int]] = []
        """Of what is written, those that are this agent's."""
        self._waiting: deque[_Waiting] = deque()
        self._size = 0
        """Of the waiting steps together."""
        self._pending = 0
        """Calls without an answer in the waiting steps."""
        self._open: _Waiting | None = None
        self._said: list[str] = []
        """Of the open step; like its thoughts, put together once: an agent may print any number of pieces."""
        self._thoughts: list[str] = []
        self._taken: dict[str, int] = {}
        """Ids of the open step's calls → how often they were wished."""
        self._calls: dict[str, deque[tuple[_Waiting, str]]] = {}
        """Id of a call without an answer → its step and its id there, the oldest first; two calls may have the same."""

    @property
    def is_open(self) -> bool:
        return self._open is not None

    @property
    def is_full(self) -> bool:
        """Whether the open step takes no more."""
        return self._open is not None and (len(self._taken) >= _MOST_CALLS or self._open.size >= _MOST_CHARACTERS)

    def add(self, source: str, ts: str, message: str) -> _Waiting:
        self.count += 1
        step: Step = {"step_id": self.count, "source": source, "message": message}
        if time := moment(ts):
            step["timestamp"] = time
        waiting = _Waiting(step)
        self._waiting.append(waiting)
        self._grow(waiting, len(message))
        return waiting

    def _grow(self, waiting: _Waiting, characters: int) -> None:
        waiting.size += characters
        self._size += characters
        self._written.waiting += characters

    def _agent(self, ts: str, characters: int) -> _Waiting:
        """The open step, with one piece of so many characters more."""
        if self._open is None:
            self._open = self.add("agent", ts, "")
        self._grow(self._open, characters + _PIECE)
        return self._open

    def say(self, ts: str, text: str) -> None:
        self._agent(ts, len(text))
        self._said.append(text)

    def think(self, ts: str, text: str) -> None:
        self._agent(ts, len(text))
        self._thoughts.append(text)

    def call(self, ts: str, event: ToolCalled) -> None:
        waiting = self._agent(ts, sum(len(value) for value in event.input.values() if isinstance(value, str)))
        name = event.call_id
        while name in self._taken:
            self._taken[event.call_id] += 1
            name = f"{event.call_id}#{self._taken[event.call_id]}"
        self._taken[name] = 1
        call = {"tool_call_id": name, "function_name": event.name, "arguments": event.input}
        waiting.step.setdefault("tool_calls", []).append(call)
        waiting.unanswered[name] = event.call_id
        self._pending += 1
        self._calls.setdefault(event.call_id, deque()).append((waiting, name))

    def answer(self, ts: str, event: ToolReturned, result: Step) -> bool:
        """Whether it ended a step of the agent."""
        result["content"] = event.output
        if event.is_error or event.exit_code is not None:
            result["extra"] = {"is_error": event.is_error, "exit_code": event.exit_code}
        if event.call_id in self._calls:
            waiting, result["source_call_id"] = self._calls[event.call_id][0]
            self._settle(waiting, result["source_call_id"])
        else:
            waiting = self.add("system", ts, "")
            result.setdefault("extra", {})["tool_call_id"] = event.call_id
        waiting.step.setdefault("observation", {"results": []})["results"].append(result)
        self._grow(waiting, len(event.output))
        return self.is_open

    def _settle(self, waiting: _Waiting, name: str) -> None:
        """Forgets a call, which is the oldest of its id: it was answered, or its step waits no longer."""
        call_id = waiting.unanswered.pop(name)
        self._pending -= 1
        found = self._calls[call_id]
        found.popleft()
        if not found:
            del self._calls[call_id]

    def unanswered(self, call_id: str, result: Step) -> None:
        """Puts something to a call whose answer has not come."""
        if found := self._calls.get(call_id):
            waiting, result["source_call_id"] = found[0]
            waiting.step.setdefault("observation", {"results": []})["results"].append(result)

    def close(self, *, uses_model: bool = True, made: Made | None = None, model: str | None = None) -> None:
        """The open step is complete. made: its model calls, as far as it is known which they were."""
        if self._open is not None:
            step = self._open.step
            step["message"] = "\n".join(filter(None, self._said))
            if self._thoughts:
                step["reasoning_content"] = "".join(self._thoughts)
            elif not uses_model:
                step["llm_call_count"] = 0
            if uses_model and made and made.usage:
                step["llm_call_count"] = made.count
                step["metrics"] = _step_metrics(made.usage)
                if made.model not in (None, model):
                    step["model_name"] = made.model
        self._open, self._said, self._thoughts, self._taken = None, [], [], {}
        self.flush(_MOST_WAITING)

    def flush(self, most: int) -> None:
        """Writes the steps that nothing can be added to any more, and the oldest of those that are too many."""
        while self._waiting and (
            len(self._waiting) > most
            or self._pending > _MOST_WAITING
            or self._size > _MOST_CHARACTERS
            or not self._waiting[0].unanswered
        ):
            waiting = self._waiting.popleft()
            self._size -= waiting.size
            self._written.waiting -= waiting.size
            for name in [*waiting.unanswered]:
                self._settle(waiting, name)
            self._written.append(self._pieces, (b",\n" if self._pieces else b"") + to_json(waiting.step))

    def write(self, out: IO[bytes]) -> None:
        self.flush(0)
        out.write(b"[\n")
        self._written.copy(self._pieces, out)
        out.write(b"\n]")


def tokens_of(usage: Usage, prefix: str = "") -> dict[str, Any]:
    """The prompt's tokens count the cached ones too."""
    return {
        f"{prefix}prompt_tokens": usage.prompt_tokens + usage.cache_read_tokens + usage.cache_write_tokens,
        f"{prefix}completion_tokens": usage.completion_tokens,
        f"{prefix}cached_tokens": usage.cache_read_tokens,
    }


def _step_metrics(usage: Usage) -> dict[str, Any]:
    metrics = tokens_of(usage)
    if usage.cost_usd is not None:
        metrics["cost_usd"] = usage.cost_usd
    return metrics
