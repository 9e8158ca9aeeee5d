"""Trajectory: the same run in ATIF v1.7, the interchange format of the field (field notes §4.1)."""

from collections.abc import Iterable
from typing import Any

from runbook_runner.core.events import (
    AgentFinished,
    AgentMessage,
    AgentStarted,
    AgentThinking,
    ModelCalled,
    Recorded,
    RunStarted,
    ToolCalled,
    ToolReturned,
    Usage,
)

VERSION = "ATIF-v1.7"


class _Steps:
    """Groups messages and calls of the agent into one step, which ends with a tool's answer."""

    def __init__(self, uses_model: bool):
        self.steps: list[dict[str, Any]] = []
        self._uses_model = uses_model
        self._open: dict[str, Any] | None = None
        self._said: list[str] = []
        """Of the open step; like its thoughts, put together once: an agent may print any number of pieces."""
        self._thoughts: list[str] = []
        self._step_of_call: dict[str, dict[str, Any]] = {}

    def add(self, source: str, ts: str, message: str) -> dict[str, Any]:
        step = {"step_id": len(self.steps) + 1, "timestamp": ts, "source": source, "message": message}
        self.steps.append(step)
        return step

    def agent(self, ts: str) -> dict[str, Any]:
        if self._open is None:
            self._open = self.add("agent", ts, "")
            if not self._uses_model:
                self._open["llm_call_count"] = 0
        return self._open

    def say(self, ts: str, text: str) -> None:
        self.agent(ts)
        self._said.append(text)

    def think(self, ts: str, text: str) -> None:
        self.agent(ts)
        self._thoughts.append(text)

    def call(self, ts: str, event: ToolCalled) -> None:
        if event.call_id in self._step_of_call:
            return
        step = self.agent(ts)
        call = {"tool_call_id": event.call_id, "function_name": event.name, "arguments": event.input}
        step.setdefault("tool_calls", []).append(call)
        self._step_of_call[event.call_id] = step

    def answer(self, event: ToolReturned) -> None:
        step = self._step_of_call.get(event.call_id)
        if step is not None:
            result = {"source_call_id": event.call_id, "content": event.output}
            step.setdefault("observation", {"results": []})["results"].append(result)
        self.close()

    def close(self) -> None:
        """The open step is complete."""
        if self._open is not None:
            self._open["message"] = "\n".join(filter(None, self._said))
            if self._thoughts:
                self._open["reasoning_content"] = "".join(self._thoughts)
        self._open, self._said, self._thoughts = None, [], []


def to_atif(events: Iterable[Recorded]) -> dict[str, Any]:
    """One ATIF document. A subagent's steps are in line with those of the agent that started it."""
    run: RunStarted | None = None
    agent: AgentStarted | None = None
    end: AgentFinished | None = None
    usage, steps = Usage(), _Steps(uses_model=True)
    for recorded in events:
        event, ts = recorded.event, recorded.ts
        if isinstance(event, RunStarted):
            run = event
            steps.add("user", ts, str(event.init_params.get("instruction", "")))
        elif isinstance(event, AgentStarted):
            agent = event
            steps._uses_model = event.model is not None
        elif isinstance(event, AgentMessage) and event.role == "assistant":
            steps.say(ts, event.text)
        elif isinstance(event, AgentThinking):
            steps.think(ts, event.text)
        elif isinstance(event, ToolCalled):
            steps.call(ts, event)
        elif isinstance(event, ToolReturned):
            steps.answer(event)
        elif isinstance(event, ModelCalled) and event.asker == "agent":
            usage += event.usage
        elif isinstance(event, AgentFinished):
            end = event
    steps.close()
    return {
        "schema_version": VERSION,
        "session_id": run.trajectory_id if run else None,
        "trajectory_id": run.trajectory_id if run else None,
        "agent": _agent(run, agent),
        "steps": steps.steps,
        "final_metrics": _metrics(usage, end, len(steps.steps)),
    }


def _agent(run: RunStarted | None, agent: AgentStarted | None) -> dict[str, Any]:
    name = agent.agent if agent else str(run.init_params.get("agent", "")) if run else ""
    body: dict[str, Any] = {"name": name, "version": (agent.version if agent else None) or "unknown"}
    if agent and agent.model:
        body["model_name"] = agent.model
    return body


def _metrics(seen: Usage, end: AgentFinished | None, steps: int) -> dict[str, Any]:
    reported = end.usage if end else None
    cost = seen.cost_usd if seen.cost_usd is not None else (reported.cost_usd if reported else None)
    total = seen if seen.prompt_tokens or seen.completion_tokens else (reported or seen)
    metrics: dict[str, Any] = {
        "total_prompt_tokens": total.prompt_tokens + total.cache_read_tokens + total.cache_write_tokens,
        "total_completion_tokens": total.completion_tokens,
        "total_cached_tokens": total.cache_read_tokens,
        "total_steps": steps,
    }
    if cost is not None:
        metrics["total_cost_usd"] = cost
    return metrics
