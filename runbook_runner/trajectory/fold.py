"""Trajectory: the fold. `trajectory.json` is this pure function of `events.jsonl`, at any moment of the run."""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from runbook_runner.core import ids
from runbook_runner.core.clock import seconds_between
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import (
    AgentFinished,
    AgentStarted,
    Artifact,
    Asker,
    Evaluated,
    Event,
    Log,
    ModelCalled,
    PhaseStarted,
    Recorded,
    Redacted,
    ReplayDiverged,
    RunFinished,
    RunStarted,
    SandboxStarted,
    Source,
    Status,
    Usage,
    UsageSum,
)
from runbook_runner.core.text import counted
from runbook_runner.trajectory.folders import EVENTS_FILE
from runbook_runner.trajectory.models import (
    Attributes,
    FileRef,
    Label,
    ResultFile,
    RunbookOutputs,
    Step,
    Trajectory,
    TrajectoryEvent,
    UsageTotals,
)
from runbook_runner.trajectory.outcome import UNKNOWN

STEP = "run"
MOST_NOTES = 10_000
"""In `events`: of more, the first and the last half. The log has all of them."""


@dataclass
class _Notes:
    first: list[TrajectoryEvent] = field(default_factory=list)
    last: deque[TrajectoryEvent] = field(default_factory=lambda: deque(maxlen=MOST_NOTES // 2))
    count: int = 0

    def append(self, note: TrajectoryEvent) -> None:
        self.count += 1
        half = self.first if len(self.first) < MOST_NOTES // 2 else self.last
        half.append(note)

    def all(self) -> list[TrajectoryEvent]:
        if not (left_out := self.count - len(self.first) - len(self.last)):
            return [*self.first, *self.last]
        message = f"{counted(left_out, 'event')} left out here; {EVENTS_FILE} has all of them"
        note = TrajectoryEvent(ts=self.first[-1].ts, level="info", message=message, step=STEP)
        return [*self.first, note, *self.last]


@dataclass
class _State:
    started: RunStarted
    created: str
    updated: str
    sandbox: SandboxStarted | None = None
    agent: AgentStarted | None = None
    agent_end: AgentFinished | None = None
    agent_began: str | None = None
    agent_ended: str | None = None
    usage: dict[tuple[Asker, Source], UsageSum] = field(default_factory=dict)
    """By who asked and who answered: the judge's are in none of the agent's sums."""
    sources: Counter[str] = field(default_factory=Counter)
    judge_sources: Counter[str] = field(default_factory=Counter)
    divergences: Counter[str] = field(default_factory=Counter)
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    """By path: recovery collects the files of a dead run again."""
    evaluated: Evaluated | None = None
    finished: RunFinished | None = None
    notes: _Notes = field(default_factory=_Notes)
    has_gaps: bool = False
    """Lines of the log are damaged or gone: what the numbers of the others say."""

    def used(self, asker: Asker) -> Usage:
        return Usage.sum(usage.total for (by, _), usage in self.usage.items() if by == asker)

    def spent(self, asker: Asker) -> Usage:
        """The part of it that a provider answered."""
        return self.usage.get((asker, "provider"), UsageSum()).total


def fold(events: Iterable[Recorded]) -> Trajectory:
    """The trajectory as far as the events go. Raises InputError when they don't begin with `run.started`."""
    rest = iter(events)
    first = next(rest, None)
    if first is None or not isinstance(first.event, RunStarted):
        raise InputError(
            "The event log does not begin with a run.started event.",
            hint="The line is damaged or gone, so no trajectory.json can be made; `results/` has what was collected.",
        )
    state = _State(first.event, created=first.ts, updated=first.ts)
    expected = first.seq + 1
    for recorded in rest:
        if recorded.seq > expected:
            _gap(state, recorded.ts)
        expected = recorded.seq + 1
        state.updated = recorded.ts
        apply = _APPLY.get(type(recorded.event))
        if apply:
            apply(state, recorded.event, recorded.ts)
    return _trajectory(state)


def _note(state: _State, ts: str, level: str, message: str) -> None:
    state.notes.append(TrajectoryEvent(ts=ts, level=level, message=message, step=STEP))


def _gap(state: _State, ts: str) -> None:
    state.has_gaps = True
    _note(state, ts, "warning", "the event log is damaged before this: tokens may be too few, the cost is not known")


def _log(state: _State, event: Log, ts: str) -> None:
    if event.level != "debug":
        _note(state, ts, event.level, event.message)


def _phase(state: _State, event: PhaseStarted, ts: str) -> None:
    _note(state, ts, "info", f"phase {event.phase} started")


def _sandbox(state: _State, event: SandboxStarted, ts: str) -> None:
    state.sandbox = event
    _note(state, ts, "info", f"sandbox {event.backend} started" + (f" from {event.image}" if event.image else ""))


def _agent_started(state: _State, event: AgentStarted, ts: str) -> None:
    state.agent, state.agent_began = event, ts
    via = f" via {event.provider}" if event.provider else ""
    _note(state, ts, "info", f"Running agent: {event.agent}{via}")


def _agent_finished(state: _State, event: AgentFinished, ts: str) -> None:
    state.agent_end, state.agent_ended = event, ts
    if event.error:
        _note(state, ts, "error", event.error)


def _model(state: _State, event: ModelCalled, ts: str) -> None:
    state.usage.setdefault((event.asker, event.source), UsageSum()).add(event.usage)
    (state.judge_sources if event.asker == "judge" else state.sources)[event.source] += 1
    if event.error:
        _note(state, ts, "warning", f"{_call(event)}: {event.error}")


def _call(event: ModelCalled | ReplayDiverged) -> str:
    return f"{'judge' if event.asker == 'judge' else 'model'} call {event.number}"


def _diverged(state: _State, event: ReplayDiverged, ts: str) -> None:
    state.divergences[event.severity] += 1
    where = ", ".join(difference.path for difference in event.differences)
    message = f"{_call(event)} is not as recorded ({event.severity})" + (f": {where}" if where else "")
    _note(state, ts, "info" if event.severity == "minor" else "warning", message)


def _artifact(state: _State, event: Artifact, ts: str) -> None:
    state.artifacts[event.path] = event


def _redacted(state: _State, event: Redacted, ts: str) -> None:
    _note(state, ts, "warning", f"{event.where}: removed {event.count} × {event.rule}")


def _evaluated(state: _State, event: Evaluated, ts: str) -> None:
    state.evaluated = event
    for reason in event.reasons:
        _note(state, ts, "warning", reason)


def _finished(state: _State, event: RunFinished, ts: str) -> None:
    state.finished = event
    _note(state, ts, "error" if event.error else "info", event.error or f"run {event.known_status}")


_APPLY: dict[type[Event], Callable[[_State, Any, str], None]] = {
    Log: _log,
    PhaseStarted: _phase,
    SandboxStarted: _sandbox,
    AgentStarted: _agent_started,
    AgentFinished: _agent_finished,
    ModelCalled: _model,
    ReplayDiverged: _diverged,
    Artifact: _artifact,
    Redacted: _redacted,
    Evaluated: _evaluated,
    RunFinished: _finished,
}


def _trajectory(state: _State) -> Trajectory:
    run = state.started
    status: Status = state.finished.status if state.finished else "running"
    labels = [Label(key=k, value=v, created=state.created, author=run.author) for k, v in run.labels.items()]
    return Trajectory(
        name=f"{run.collection}/{run.task}",
        trajectory_id=run.trajectory_id,
        storage_path=ids.storage_path(run.collection, run.task),
        status=status,
        attributes=_attributes(state),
        created=state.created,
        updated=state.updated,
        author=run.author,
        metadata_uri="",
        steps={STEP: _step(state, status)},
        labels=labels,
        total_steps=[STEP],
        completed_steps=[STEP] if status == "completed" else [],
        init_params=run.init_params,
        step_configs={STEP: run.step_config},
        org_id=None,
        error=state.finished.error if state.finished else None,
        triggered_by_routine_id=None,
        webhook_url=None,
        events=state.notes.all(),
    )


def _attributes(state: _State) -> Attributes:
    params: dict[str, Any] = {"engine": state.started.engine, "spec_digest": state.started.spec_digest}
    if state.sandbox:
        params["sandbox"] = state.sandbox.model_dump(exclude={"type"})
    if state.agent:
        params["agent_version"] = state.agent.version
    params |= _answered_by(state)
    if state.started.origin:
        params["origin"] = state.started.origin
    if state.started.rerun_of:
        params["rerun_of"] = state.started.rerun_of
    if state.finished and not state.finished.is_known:
        params["outcome"] = UNKNOWN
    if attempt := state.started.attempt:
        params |= {"parent_trajectory_id": attempt.parent_trajectory_id, "attempt": attempt.number}
    return Attributes(
        asset_type="trajectory",
        asset_filename=f"{state.started.trajectory_id}.json",
        created=state.created,
        params=params,
    )


def _answered_by(state: _State) -> dict[str, Any]:
    """What answered the model calls, when it was not always the provider, and which run this one repeats."""
    answered: dict[str, Any] = {}
    if state.sources.keys() - {"provider"}:
        answered["model_calls"] = dict(state.sources)
        answered["spent"] = _as_known(state, state.spent("agent")).model_dump()
    if state.judge_sources or (state.evaluated and state.evaluated.judge):
        answered["judge"] = _judge(state)
    if state.started.replay:
        replay = state.started.replay.model_dump(exclude={"parent_trajectory_id"})
        answered["parent_trajectory_id"] = state.started.replay.parent_trajectory_id
        answered["replay"] = {**replay, "divergences": dict(state.divergences)}
    return answered


def _judge(state: _State) -> dict[str, Any]:
    """What it found, and what it used."""
    found = state.evaluated.judge if state.evaluated else None
    return {
        **(found if isinstance(found, dict) else {}),
        "usage": _as_known(state, state.used("judge")).model_dump(),
        "model_calls": dict(state.judge_sources),
        "spent": _as_known(state, state.spent("judge")).model_dump(),
    }


def _step(state: _State, status: Status) -> Step:
    init = state.started.init_params
    return Step(
        inputs={key: value for key, value in init.items() if key != "instruction"},
        outputs=_outputs(state),
        activity="runbook",
        key=STEP,
        depends_on=[],
        created=state.created,
        ended=state.updated if state.finished else None,
        duration_seconds=state.finished.seconds if state.finished else None,
        author=state.started.author,
        origin={},
        config=state.started.step_config,
        status=status,
        error=state.finished.error if state.finished else None,
    )


def _outputs(state: _State) -> RunbookOutputs:
    end, evaluated = state.agent_end, state.evaluated
    results = [a for a in state.artifacts.values() if a.kind == "result"]
    others = [a for a in state.artifacts.values() if a.kind != "result"]
    primary = sorted((a for a in results if a.primary is not None), key=lambda a: a.primary or 0)
    return RunbookOutputs(
        success=evaluated.success if evaluated else False,
        text=end.text if end else "",
        results_files=[_result_file(a) for a in results],
        files=[FileRef(path=a.key) for a in results + others],
        primary_files=[a.key for a in primary or results[:1]],
        usage=_usage(state),
        validation_report=evaluated.validation_report if evaluated else None,
        verdict=evaluated.verdict if evaluated else None,
        overall_passed=evaluated.overall_passed if evaluated else None,
        missing_outputs=list(evaluated.missing_outputs) if evaluated else [],
        exit_code=end.exit_code if end else None,
    )


def _result_file(artifact: Artifact) -> ResultFile:
    extension = PurePosixPath(artifact.sandbox_path).suffix.lstrip(".")
    return ResultFile(path=artifact.key, content_type=artifact.content_type, extension=extension)


def _usage(state: _State) -> UsageTotals:
    """The gateway's count when it saw calls, else the CLI's own. A CLI's price is not put beside the gateway's
    count: of a model that the CLI does not know, it is a guess."""
    reported = state.agent_end.usage if state.agent_end else None
    used = state.used("agent")
    seen = used if used.api_calls else (reported or Usage())
    # As in `summary.usage_of`.
    tells_all = state.sandbox is not None or not state.started.origin
    if state.finished and tells_all and not (used.api_calls or reported):
        seen = Usage(cost_usd=0.0)  # it has asked no model
    seen = _as_known(state, seen)
    seconds = seconds_between(state.agent_began, state.agent_ended or state.updated) if state.agent_began else 0.0
    return UsageTotals(
        prompt_tokens=seen.prompt_tokens,
        completion_tokens=seen.completion_tokens,
        total_tokens=seen.total_tokens,
        cost_usd=seen.cost_usd,
        duration_seconds=seconds,
        api_calls=seen.api_calls,
        cache_read_tokens=seen.cache_read_tokens,
        cache_write_tokens=seen.cache_write_tokens,
    )


def _as_known(state: _State, usage: Usage) -> Usage:
    """A call whose event is lost has a price that nobody knows any more."""
    return usage.model_copy(update={"cost_usd": None}) if state.has_gaps else usage
