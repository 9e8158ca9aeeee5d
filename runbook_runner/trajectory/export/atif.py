"""Trajectory: the same run in ATIF v1.7, the interchange format of the field (field notes §4.1)."""

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final

from runbook_runner.core.clock import moment
from runbook_runner.core.events import (
    AgentFinished,
    AgentMessage,
    AgentStarted,
    AgentThinking,
    Evaluated,
    ModelCalled,
    Recorded,
    RunFinished,
    RunStarted,
    ToolCalled,
    ToolReturned,
    Usage,
    UsageSum,
)

VERSION: Final = "ATIF-v1.7"
EXTRA: Final = "runbook_runner"
"""Key of `extra` under which is what ATIF has no field for."""
_IN_MEMORY: Final = 8 << 20
_MOST_WAITING: Final = 1000
"""Steps that wait for the answers of their tools; an answer that comes later is a step of its own."""
_MOST_CALLS: Final = 1000
"""Of one step; further ones begin the next step."""
_MOST_CHARACTERS: Final = 8 << 20
"""Of all waiting steps, and of an open step."""
_PIECE: Final = 64
"""Counted for a piece of any length."""
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False)

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
class _Made:
    """Model calls, summed."""

    count: int = 0
    usage: Usage | None = None
    model: str | None = None
    """Of all of them; `None`: there are several."""

    def add(self, call: ModelCalled) -> None:
        self.model = call.model if not self.count or self.model == call.model else None
        self.usage = call.usage if self.usage is None else self.usage + call.usage
        self.count += 1


class _Steps:
    """The steps of one agent. Messages, thoughts and calls become one step, which ends with a tool's answer."""

    def __init__(self) -> None:
        self.count = 0
        self._text = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed with the object
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

    def close(self, *, uses_model: bool = True, made: _Made | None = None, model: str | None = None) -> None:
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
        self._flush(_MOST_WAITING)

    def _flush(self, most: int) -> None:
        """Writes the steps that nothing can be added to any more, and the oldest of those that are too many."""
        while self._waiting and (
            len(self._waiting) > most
            or self._pending > _MOST_WAITING
            or self._size > _MOST_CHARACTERS
            or not self._waiting[0].unanswered
        ):
            waiting = self._waiting.popleft()
            self._size -= waiting.size
            for name in [*waiting.unanswered]:
                self._settle(waiting, name)
            if self._text.tell():
                self._text.write(b",\n")
            self._text.write(_json(waiting.step))

    def write(self, out: IO[bytes]) -> None:
        self._flush(0)
        out.write(b"[\n")
        self._text.seek(0)
        while block := self._text.read(1 << 20):
            out.write(block)
        out.write(b"\n]")


_WORK: Final = (AgentMessage, AgentThinking, ToolCalled, ToolReturned)


class Atif:
    """Takes the events of one run and writes one ATIF document. What the main agent's steps have is kept aside on disk,
    so that a log of any length takes little memory. A subagent has a trajectory of its own in it."""

    def __init__(self) -> None:
        self._run: RunStarted | None = None
        self._agent: AgentStarted | None = None
        self._end: AgentFinished | None = None
        self._finished: RunFinished | None = None
        self._evaluated: Evaluated | None = None
        self._usage = UsageSum()
        self._asks_model = False
        self._made = _Made()
        """Since the last step was closed."""
        self._shared = False
        """More than one agent may have made those."""
        self._steps = _Steps()
        self._subagents: dict[str, _Steps] = {}
        """By the tool call that started it."""
        self._referred: set[str] = set()

    def feed(self, recorded: Recorded) -> None:
        event, ts = recorded.event, recorded.ts
        if isinstance(event, _WORK):
            self._work(event, ts)
        elif isinstance(event, ModelCalled) and event.asker == "agent":
            self._usage.add(event.usage)
            self._asks_model = self._asks_model or bool(event.usage.api_calls)
            self._made.add(event)
            self._shared = self._shared or self._has_open_subagents()
        elif isinstance(event, RunStarted) and self._run is None:
            self._run = event
            self._steps.add("user", ts, str(event.init_params.get("instruction", "")))
        elif isinstance(event, AgentStarted):
            self._agent = event
        elif isinstance(event, AgentFinished):
            self._end = event
            self._close(self._steps)
        elif isinstance(event, RunFinished):
            self._finished = event
        elif isinstance(event, Evaluated):
            self._evaluated = event

    def _has_open_subagents(self) -> bool:
        return len(self._subagents) > len(self._referred)

    def _work(self, event: AgentMessage | AgentThinking | ToolCalled | ToolReturned, ts: str) -> None:
        steps = self._of(event.parent_call_id)
        if steps.is_full and not isinstance(event, ToolReturned):
            self._close(steps)
        if isinstance(event, AgentThinking):
            steps.think(ts, event.text)
        elif isinstance(event, ToolCalled):
            steps.call(ts, event)
        elif isinstance(event, ToolReturned):
            result: Step = {}
            if event.call_id in self._subagents:
                self._refer(event.call_id, result)
            if steps.answer(ts, event, result):
                self._close(steps)
        elif event.role == "assistant":
            steps.say(ts, event.text)
        else:
            self._close(steps)
            steps.add(event.role, ts, event.text)

    def _of(self, parent: str | None) -> _Steps:
        return self._steps if parent is None else self._subagents.setdefault(parent, _Steps())

    def _refer(self, call_id: str, result: Step) -> None:
        self._referred.add(call_id)
        result["subagent_trajectory_ref"] = [{"trajectory_id": self._subagent_id(call_id)}]

    def _subagent_id(self, call_id: str) -> str:
        return f"{self._run.trajectory_id if self._run else ''}/{call_id}"

    def _close(self, steps: _Steps) -> None:
        known = steps is self._steps and not self._shared and not self._has_open_subagents()
        model = self._agent.model if self._agent else None
        is_open = steps.is_open
        steps.close(uses_model=self._uses_model, made=self._made if known else None, model=model)
        if is_open:
            self._made, self._shared = _Made(), self._has_open_subagents()

    @property
    def _uses_model(self) -> bool:
        return self._agent is None or self._agent.model is not None or self._asks_model

    def write(self, out: IO[bytes]) -> None:
        """Writes the document. To be called once, after the last event."""
        self._close(self._steps)
        for call_id in [call_id for call_id in self._subagents if call_id not in self._referred]:
            result: Step = {}
            self._refer(call_id, result)
            for steps in (self._steps, *self._subagents.values()):
                steps.unanswered(call_id, result)
        if not self._steps.count:
            self._steps.add("system", "", "")
        run_id = self._run.trajectory_id if self._run else None
        head = {"schema_version": VERSION, "session_id": run_id, "trajectory_id": run_id, "agent": self._described()}
        out.write(_json(head)[:-1] + b',\n"steps": ')
        self._steps.write(out)
        if self._subagents:
            out.write(b',\n"subagent_trajectories": [\n')
            for number, (call_id, steps) in enumerate(self._subagents.items()):
                out.write(b",\n" if number else b"")
                self._write_subagent(out, call_id, steps, run_id)
            out.write(b"\n]")
        tail = {"final_metrics": self._metrics(), "extra": {EXTRA: self._extra()}}
        out.write(b",\n" + _json(tail)[1:] + b"\n")

    def _write_subagent(self, out: IO[bytes], call_id: str, steps: _Steps, run_id: str | None) -> None:
        self._close(steps)
        if not steps.count:
            steps.add("system", "", "")
        head = {
            "schema_version": VERSION,
            "session_id": run_id,
            "trajectory_id": self._subagent_id(call_id),
            "agent": self._described(),
            "extra": {EXTRA: {"parent_tool_call_id": call_id}},
            "final_metrics": {"total_steps": steps.count},
        }
        out.write(_json(head)[:-1] + b',\n"steps": ')
        steps.write(out)
        out.write(b"}")

    def _described(self) -> dict[str, Any]:
        agent, run = self._agent, self._run
        name = agent.agent if agent else str(run.init_params.get("agent") or "") if run else ""
        body: dict[str, Any] = {"name": name, "version": (agent.version if agent else None) or "unknown"}
        if agent and agent.model:
            body["model_name"] = agent.model
        return body

    def _metrics(self) -> dict[str, Any]:
        """Subagents and their steps included."""
        seen, reported = self._usage.total, self._end.usage if self._end else None
        cost = seen.cost_usd if seen.cost_usd is not None else (reported.cost_usd if reported else None)
        total = seen if seen.prompt_tokens or seen.completion_tokens else (reported or seen)
        metrics = _tokens(total, "total_")
        metrics["total_steps"] = self._steps.count + sum(steps.count for steps in self._subagents.values())
        if cost is not None:
            metrics["total_cost_usd"] = cost
        return metrics

    def _extra(self) -> dict[str, Any]:
        run, end, finished, evaluated = self._run, self._end, self._finished, self._evaluated
        extra: dict[str, Any] = {"status": finished.status if finished else "running"}
        if run:
            extra |= {"collection": run.collection, "task": run.task, "labels": run.labels, "engine": run.engine}
            extra["model"] = str(run.init_params.get("model") or "") or None
        if finished:
            extra |= {"error": finished.error, "seconds": finished.seconds}
        if end:
            extra |= {"ended_by": end.ended_by, "exit_code": end.exit_code, "agent_error": end.error}
        if evaluated:
            extra |= {
                "verdict": evaluated.verdict,
                "success": evaluated.success,
                "reasons": list(evaluated.reasons),
                "missing_outputs": list(evaluated.missing_outputs),
            }
        return extra


def _tokens(usage: Usage, prefix: str = "") -> dict[str, Any]:
    """The prompt's tokens count the cached ones too."""
    return {
        f"{prefix}prompt_tokens": usage.prompt_tokens + usage.cache_read_tokens + usage.cache_write_tokens,
        f"{prefix}completion_tokens": usage.completion_tokens,
        f"{prefix}cached_tokens": usage.cache_read_tokens,
    }


def _step_metrics(usage: Usage) -> dict[str, Any]:
    metrics = _tokens(usage)
    if usage.cost_usd is not None:
        metrics["cost_usd"] = usage.cost_usd
    return metrics


def _json(value: Any) -> bytes:
    return _ENCODER.encode(value).encode("utf-8", "backslashreplace")


def write_atif(events: Iterable[Recorded], out: IO[bytes]) -> None:
    document = Atif()
    for recorded in events:
        document.feed(recorded)
    document.write(out)


def to_atif(events: Iterable[Recorded]) -> dict[str, Any]:
    """The document as a value."""
    out = BytesIO()
    write_atif(events, out)
    value: dict[str, Any] = json.loads(out.getvalue())
    return value
