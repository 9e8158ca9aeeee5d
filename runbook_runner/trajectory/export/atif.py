"""Trajectory: the same run in ATIF v1.7, the interchange format of the field (field notes §4.1)."""

import json
from collections import deque
from collections.abc import Iterable
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
)

VERSION: Final = "ATIF-v1.7"
EXTRA: Final = "runbook_runner"
"""Key of `extra` under which is what ATIF has no field for."""
_IN_MEMORY: Final = 8 << 20
_MOST_WAITING: Final = 1000
"""Steps that wait for the answers of their tools; an answer that comes later is a step of its own."""

Step = dict[str, Any]


class _Steps:
    """The steps of one agent. Messages, thoughts and calls become one step, which ends with a tool's answer."""

    def __init__(self) -> None:
        self.count = 0
        self._text = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed with the object
        self._waiting: deque[Step] = deque()
        self._open: Step | None = None
        self._said: list[str] = []
        """Of the open step; like its thoughts, put together once: an agent may print any number of pieces."""
        self._thoughts: list[str] = []
        self._taken: dict[str, int] = {}
        """Ids of the open step's calls → how often they were wished."""
        self._calls: dict[str, list[tuple[Step, str]]] = {}
        """Id of a call without an answer → its step and its id there; two calls may have the same."""

    def add(self, source: str, ts: str, message: str) -> Step:
        self.count += 1
        step: Step = {"step_id": self.count, "source": source, "message": message}
        if time := moment(ts):
            step["timestamp"] = time
        self._waiting.append(step)
        return step

    def agent(self, ts: str) -> Step:
        if self._open is None:
            self._open = self.add("agent", ts, "")
        return self._open

    def say(self, ts: str, text: str) -> None:
        self.agent(ts)
        self._said.append(text)

    def think(self, ts: str, text: str) -> None:
        self.agent(ts)
        self._thoughts.append(text)

    def call(self, ts: str, event: ToolCalled) -> None:
        step = self.agent(ts)
        calls = step.setdefault("tool_calls", [])
        name = event.call_id
        while name in self._taken:
            self._taken[event.call_id] += 1
            name = f"{event.call_id}#{self._taken[event.call_id]}"
        self._taken[name] = 1
        calls.append({"tool_call_id": name, "function_name": event.name, "arguments": event.input})
        self._calls.setdefault(event.call_id, []).append((step, name))

    def answer(self, ts: str, event: ToolReturned, result: Step) -> bool:
        """Whether it ended a step of the agent."""
        found = self._calls.get(event.call_id)
        result["content"] = event.output
        if event.is_error or event.exit_code is not None:
            result["extra"] = {"is_error": event.is_error, "exit_code": event.exit_code}
        if found:
            step, result["source_call_id"] = found.pop(0)
            if not found:
                del self._calls[event.call_id]
        else:
            step = self.add("system", ts, "")
            result.setdefault("extra", {})["tool_call_id"] = event.call_id
        step.setdefault("observation", {"results": []})["results"].append(result)
        return self._open is not None

    def unanswered(self, call_id: str, result: Step) -> None:
        """Puts something to a call whose answer has not come."""
        for step, name in self._calls.get(call_id, [])[:1]:
            result["source_call_id"] = name
            step.setdefault("observation", {"results": []})["results"].append(result)

    def close(self, *, uses_model: bool = True, calls: Iterable[ModelCalled] = (), model: str | None = None) -> None:
        """The open step is complete. calls: of its model, as far as it is known which they were."""
        step = self._open
        if step is not None:
            step["message"] = "\n".join(filter(None, self._said))
            if self._thoughts:
                step["reasoning_content"] = "".join(self._thoughts)
            elif not uses_model:
                step["llm_call_count"] = 0
            if uses_model and (made := list(calls)):
                step["llm_call_count"] = len(made)
                step["metrics"] = _step_metrics(made)
                names = {call.model for call in made}
                if len(names) == 1 and names != {model}:
                    step["model_name"] = names.pop()
        self._open, self._said, self._thoughts, self._taken = None, [], [], {}
        self._flush(_MOST_WAITING)

    def _flush(self, most: int) -> None:
        """Writes the steps that nothing can be added to any more, and those that are more than `most`."""
        open_steps = {id(step) for found in self._calls.values() for step, _ in found} if self._calls else set()
        while self._waiting and (len(self._waiting) > most or id(self._waiting[0]) not in open_steps):
            step = self._waiting.popleft()
            if id(step) in open_steps:
                self._calls = {
                    key: kept for key, found in self._calls.items() if (kept := [f for f in found if f[0] is not step])
                }
            if self._text.tell():
                self._text.write(b",\n")
            self._text.write(_json(step))

    def write(self, out: IO[bytes]) -> None:
        self._flush(0)
        out.write(b"[\n")
        self._text.seek(0)
        while block := self._text.read(1 << 20):
            out.write(block)
        out.write(b"\n]")


class Atif:
    """Takes the events of one run and writes one ATIF document. What the main agent's steps have is kept aside on disk,
    so that a log of any length takes little memory. A subagent has a trajectory of its own in it."""

    def __init__(self) -> None:
        self._run: RunStarted | None = None
        self._agent: AgentStarted | None = None
        self._end: AgentFinished | None = None
        self._finished: RunFinished | None = None
        self._evaluated: Evaluated | None = None
        self._usage = Usage()
        self._calls: list[ModelCalled] = []
        """Since the last step was closed."""
        self._shared = False
        """More than one agent may have made those."""
        self._steps = _Steps()
        self._subagents: dict[str, _Steps] = {}
        """By the tool call that started it."""
        self._referred: set[str] = set()

    def feed(self, recorded: Recorded) -> None:
        event, ts = recorded.event, recorded.ts
        if isinstance(event, AgentMessage | AgentThinking | ToolCalled | ToolReturned):
            self._work(event, ts)
        elif isinstance(event, ModelCalled) and event.asker == "agent":
            self._usage += event.usage
            self._calls.append(event)
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
        is_open = steps._open is not None
        steps.close(uses_model=self._uses_model, calls=self._calls if known else (), model=model)
        if is_open:
            self._calls, self._shared = [], self._has_open_subagents()

    @property
    def _uses_model(self) -> bool:
        return self._agent is None or self._agent.model is not None or bool(self._usage.api_calls)

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
        seen, reported = self._usage, self._end.usage if self._end else None
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


def _step_metrics(calls: Iterable[ModelCalled]) -> dict[str, Any]:
    first, *others = [call.usage for call in calls]
    usage = sum(others, first)
    metrics = _tokens(usage)
    if usage.cost_usd is not None:
        metrics["cost_usd"] = usage.cost_usd
    return metrics


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")


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
