"""Trajectory: the same run in ATIF v1.7, the interchange format of the field (field notes §4.1)."""

import json
from collections.abc import Iterable
from io import BytesIO
from typing import IO, Any, Final

from pydantic_core import to_json

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
    UsageSum,
)
from runbook_runner.trajectory.export.atif_steps import Made, Step, Steps, Written, tokens_of

VERSION: Final = "ATIF-v1.7"
EXTRA: Final = "runbook_runner"
"""Key of `extra` under which is what ATIF has no field for."""
_MOST_SUBAGENTS: Final = 1000
"""What further ones do is among the steps of the main agent."""
_MOST_CHARACTERS: Final = 32 << 20
"""Of the steps of all agents that wait for something."""
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
        self._made = Made()
        """Since the last step was closed."""
        self._shared = False
        """More than one agent may have made those."""
        self._written = Written()
        self._steps = Steps(self._written)
        self._subagents: dict[str, Steps] = {}
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
        if self._written.waiting > _MOST_CHARACTERS:
            for each in (self._steps, *self._subagents.values()):
                self._close(each)
                each.flush(0)

    def _of(self, parent: str | None) -> Steps:
        if parent is None or (parent not in self._subagents and len(self._subagents) >= _MOST_SUBAGENTS):
            return self._steps
        return self._subagents.setdefault(parent, Steps(self._written))

    def _refer(self, call_id: str, result: Step) -> None:
        self._referred.add(call_id)
        result["subagent_trajectory_ref"] = [{"trajectory_id": self._subagent_id(call_id)}]

    def _subagent_id(self, call_id: str) -> str:
        return f"{self._run.trajectory_id if self._run else ''}/{call_id}"

    def _close(self, steps: Steps) -> None:
        known = steps is self._steps and not self._shared and not self._has_open_subagents()
        model = self._agent.model if self._agent else None
        is_open = steps.is_open
        steps.close(uses_model=self._uses_model, made=self._made if known else None, model=model)
        if is_open:
            self._made, self._shared = Made(), self._has_open_subagents()

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
        out.write(to_json(head)[:-1] + b',\n"steps": ')
        self._steps.write(out)
        if self._subagents:
            out.write(b',\n"subagent_trajectories": [\n')
            for number, (call_id, steps) in enumerate(self._subagents.items()):
                out.write(b",\n" if number else b"")
                self._write_subagent(out, call_id, steps, run_id)
            out.write(b"\n]")
        tail = {"final_metrics": self._metrics(), "extra": {EXTRA: self._extra()}}
        out.write(b",\n" + to_json(tail)[1:] + b"\n")

    def _write_subagent(self, out: IO[bytes], call_id: str, steps: Steps, run_id: str | None) -> None:
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
        out.write(to_json(head)[:-1] + b',\n"steps": ')
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
        metrics = tokens_of(total, "total_")
        metrics["total_steps"] = self._steps.count + sum(steps.count for steps in self._subagents.values())
        if cost is not None:
            metrics["total_cost_usd"] = cost
        return metrics

    def _extra(self) -> dict[str, Any]:
        run, end, finished, evaluated = self._run, self._end, self._finished, self._evaluated
        extra: dict[str, Any] = {"status": finished.known_status if finished else "running"}
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
