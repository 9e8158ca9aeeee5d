"""Trajectory, imports: reads a run in ATIF v1, of any program. What has another type than the format says is left out
of the events, and stays in the file that is kept."""

import re
from collections.abc import Iterator
from typing import Any, Final

from runbook_runner import __version__
from runbook_runner.core.clock import seconds_between
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import (
    AgentFinished,
    AgentMessage,
    AgentStarted,
    AgentThinking,
    Evaluated,
    Event,
    ModelCalled,
    RunFinished,
    RunStarted,
    ToolCalled,
    ToolReturned,
    Usage,
)
from runbook_runner.core.formats.json_toml import plain_json
from runbook_runner.core.formats.numbers import amount, count
from runbook_runner.core.text import printable_name
from runbook_runner.trajectory.export.atif import EXTRA
from runbook_runner.trajectory.imports.imported import (
    Imported,
    Moments,
    Timed,
    object_of,
    objects_of,
    text_of,
)

_VERSION: Final = re.compile(r"ATIF-v1\.(\d{1,4})")
_NEWEST: Final = 8
_MOST_LEVELS: Final = 20
"""Subagents in each other."""
_STATUSES: Final = ("completed", "failed", "cancelled", "archived")
"""Of what is over: one that went on when it was exported has no end that is known."""
_ENDS: Final = ("exit", "deadline", "idle", "cancel", "lost")


def is_atif(body: Any) -> bool:
    return isinstance(body, dict) and text_of(body.get("schema_version")).startswith("ATIF-")


def read_atif(body: Any, source: str, *, origin: str | None = None) -> Imported:
    """source: the file, for messages. Raises InputError for another version, and for what has no steps."""
    body = plain_json(object_of(body))
    version = text_of(body.get("schema_version"))
    match = _VERSION.fullmatch(version)
    if not match:
        shown = printable_name(version[:50])
        raise InputError(f"The format {shown!r} is not known; ATIF-v1 is.", where=source)
    if not objects_of(body.get("steps")):
        raise InputError("The trajectory has no steps.", where=source)
    notes: tuple[str, ...] = ()
    if int(match[1]) > _NEWEST:
        notes = (f"{version} is newer than what this version of Runbook Runner knows: parts may be missing.",)
    ours = object_of(object_of(body.get("extra")).get(EXTRA))
    name = text_of(body.get("trajectory_id")) or text_of(body.get("session_id"))
    return Imported(
        form=version,
        events=_Reader(body, ours, origin or f"{version} file {source}").events(),
        collection=text_of(ours.get("collection")) or None,
        task=text_of(ours.get("task")) or None,
        trajectory_id=name or None,
        notes=notes,
    )


class _Reader:
    def __init__(self, body: dict[str, Any], ours: dict[str, Any], origin: str):
        self._body, self._ours, self._origin = body, ours, origin
        self._steps = objects_of(body.get("steps"))
        self._clock = Moments()
        for step in self._steps:
            self._clock = Moments(self._clock.of(step.get("timestamp")))
            if step.get("timestamp"):
                break
        self._begun = self._clock.last
        subagents = objects_of(body.get("subagent_trajectories"))
        self._subagents = {text_of(sub.get("trajectory_id")): sub for sub in subagents}
        self._calls = 0
        self._text = ""

    def events(self) -> Iterator[Timed]:
        agent = object_of(self._body.get("agent"))
        name, version = text_of(agent.get("name")) or "unknown", text_of(agent.get("version"))
        model = text_of(agent.get("model_name")) or None
        steps = self._steps
        instruction = ""
        if steps[0].get("source") == "user":
            instruction, steps = _content(steps[0].get("message")), steps[1:]
        labels = object_of(self._ours.get("labels"))
        yield self._at(
            RunStarted(
                trajectory_id=text_of(self._body.get("trajectory_id")),
                collection="",
                task="",
                author=name,
                spec_digest="",
                init_params={"agent": name, "model": model or self._ours.get("model"), "instruction": instruction},
                step_config={},
                labels={key: value for key, value in labels.items() if isinstance(value, str)},
                engine=text_of(self._ours.get("engine")) or f"runbook-runner/{__version__}",
                origin=self._origin,
            )
        )
        yield self._at(AgentStarted(agent=name, version=version or None, model=model))
        yield from self._walk(steps, None, model, 0)
        for key, sub in list(self._subagents.items()):
            parent = object_of(object_of(sub.get("extra")).get(EXTRA)).get("parent_tool_call_id")
            if self._subagents.pop(key, None):
                yield from self._walk(objects_of(sub.get("steps")), text_of(parent) or key, model, 1)
        yield from self._ended()

    def _at(self, event: Event) -> Timed:
        return Timed(self._clock.last, event)

    def _walk(self, steps: list[dict[str, Any]], parent: str | None, model: str | None, level: int) -> Iterator[Timed]:
        for step in steps:
            self._clock.of(step.get("timestamp"))
            message = _content(step.get("message"))
            if step.get("source") == "agent":
                yield from self._agent_step(step, message, parent, model)
            elif message or "observation" not in step:
                role: Any = step.get("source") if step.get("source") in ("user", "system") else "system"
                yield self._at(AgentMessage(text=message, role=role, parent_call_id=parent))
            yield from self._results(step, parent, model, level)

    def _agent_step(self, step: dict[str, Any], message: str, parent: str | None, model: str | None) -> Iterator[Timed]:
        if isinstance(step.get("metrics"), dict):
            yield self._at(self._model_call(step, text_of(step.get("model_name")) or model or "unknown"))
        if thought := text_of(step.get("reasoning_content")):
            yield self._at(AgentThinking(text=thought, parent_call_id=parent))
        if message:
            self._text = message if parent is None else self._text
            yield self._at(AgentMessage(text=message, parent_call_id=parent))
        for call in objects_of(step.get("tool_calls")):
            yield self._at(
                ToolCalled(
                    call_id=text_of(call.get("tool_call_id")),
                    name=text_of(call.get("function_name")),
                    input=object_of(call.get("arguments")),
                    parent_call_id=parent,
                )
            )

    def _model_call(self, step: dict[str, Any], model: str) -> ModelCalled:
        self._calls += 1
        usage = _usage(object_of(step.get("metrics"))).model_copy(
            update={"api_calls": count(step.get("llm_call_count")) or 1}
        )
        return ModelCalled(
            number=self._calls, dialect="unknown", model=model, source="provider", status=200, usage=usage, seconds=0.0
        )

    def _results(self, step: dict[str, Any], parent: str | None, model: str | None, level: int) -> Iterator[Timed]:
        for result in objects_of(object_of(step.get("observation")).get("results")):
            extra = object_of(result.get("extra"))
            call_id = text_of(result.get("source_call_id")) or text_of(extra.get("tool_call_id"))
            for ref in objects_of(result.get("subagent_trajectory_ref")):
                sub = self._subagents.pop(text_of(ref.get("trajectory_id")), None) if level < _MOST_LEVELS else None
                if sub:
                    yield from self._walk(objects_of(sub.get("steps")), call_id or "?", model, level + 1)
            if result.get("content") is not None:
                yield self._at(
                    ToolReturned(
                        call_id=call_id,
                        output=_content(result.get("content")),
                        is_error=extra.get("is_error") is True,
                        exit_code=_code(extra.get("exit_code")),
                        parent_call_id=parent,
                    )
                )

    def _ended(self) -> Iterator[Timed]:
        ours, final = self._ours, self._body.get("final_metrics")
        usage = _usage(final, "total_") if isinstance(final, dict) else None
        ended_by: Any = ours.get("ended_by") if ours.get("ended_by") in _ENDS else "exit"
        code, failed = _code(ours.get("exit_code")), text_of(ours.get("agent_error")) or None
        yield self._at(AgentFinished(exit_code=code, ended_by=ended_by, text=self._text, usage=usage, error=failed))
        if ours.get("verdict") in ("pass", "fail"):
            verdict: Any = ours["verdict"]
            reasons = ours.get("reasons") if isinstance(ours.get("reasons"), list) else []
            missing = ours.get("missing_outputs") if isinstance(ours.get("missing_outputs"), list) else []
            yield self._at(
                Evaluated(
                    verdict=verdict,
                    success=ours.get("success") is True,
                    reasons=tuple(filter(None, map(text_of, reasons or []))),
                    missing_outputs=tuple(filter(None, map(text_of, missing or []))),
                )
            )
        status: Any = ours.get("status") if ours.get("status") in _STATUSES else "completed"
        is_known = ours.get("status") in _STATUSES
        seconds = amount(ours.get("seconds"))
        if seconds is None:
            seconds = max(0.0, seconds_between(self._begun, self._clock.last))
        error = text_of(ours.get("error")) or None
        yield self._at(RunFinished(status=status, error=error, seconds=seconds, is_known=is_known))


def _usage(metrics: dict[str, Any], prefix: str = "") -> Usage:
    """ATIF's prompt has the cached tokens in it, ours has not."""
    cached = count(metrics.get(f"{prefix}cached_tokens"))
    return Usage(
        prompt_tokens=max(0, count(metrics.get(f"{prefix}prompt_tokens")) - cached),
        completion_tokens=count(metrics.get(f"{prefix}completion_tokens")),
        cache_read_tokens=cached,
        cost_usd=amount(metrics.get(f"{prefix}cost_usd")),
    )


def _code(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 32 else None


def _content(value: Any) -> str:
    """A message, which is text or a list of parts; an image becomes `[image]`."""
    if isinstance(value, str):
        return value
    parts = objects_of(value)
    return "\n".join(text_of(part.get("text")) or f"[{text_of(part.get('type')) or 'part'}]" for part in parts)
