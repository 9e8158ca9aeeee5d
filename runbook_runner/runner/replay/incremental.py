"""Runner: a live run whose first model calls are answered from a recording, up to the first request that changed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runbook_runner.core.events import ReplayOf
from runbook_runner.core.settings import APP
from runbook_runner.gateway import load_prefix
from runbook_runner.gateway.cassette.answers import read_answer
from runbook_runner.gateway.replay.index import CassetteIndex, IndexedCall, open_index
from runbook_runner.runner.replay.cassette import CassetteReplay, prompt_of, relocation, volatile_output
from runbook_runner.runner.replay.edit import Edit, Said, edit_of
from runbook_runner.runner.replay.recorded_run import RecordedRun
from runbook_runner.runner.request.prepared_run import PreparedRun
from runbook_runner.sandbox.paths import app_restorer

if TYPE_CHECKING:
    from runbook_runner.gateway import Cassette, Replay, Upstream


@dataclass(frozen=True)
class IncrementalReplay(CassetteReplay):
    index: CassetteIndex | None = None
    """Of the cassette; `None`: it is read when it is needed."""
    mission: str | None = None
    """Of this run, when the prompt is not the recorded one: it counts as the recorded one up to call `until`."""

    @property
    def is_incremental(self) -> bool:
        return True

    def described(self) -> ReplayOf:
        return super().described().model_copy(update={"mode": "incremental"})

    def upstream(self, fallback: "Upstream | None") -> "Replay":
        assert fallback
        return load_prefix(self.opened, fallback, until=self.until, edit=self.edit)

    @property
    def opened(self) -> CassetteIndex:
        assert self.recorded
        return self.index or open_recorded(self.recorded)

    def judge_upstream(self, fallback: "Upstream | None") -> "Replay":
        assert fallback
        return load_prefix(open_index(self._judge), fallback)

    def recorded_with(self, replay: "Replay", cassette: "Cassette", app: str) -> "Replay":
        placed = super().recorded_with(replay, cassette, app)
        if self.mission is None or self.recorded is None:
            return placed
        to_there = relocation(APP, self.recorded.app)
        before, after = (to_there(text).rstrip() for text in (self.recorded.spec.mission, self.mission))
        to_recorded = placed.to_recorded
        return replace(placed, to_recorded=lambda text: to_recorded(text).replace(after, before))


def open_recorded(recorded: RecordedRun) -> CassetteIndex:
    """The model calls of a run. Raises InputError when they can't be replayed."""
    return open_index(recorded.cassette, volatile_output(recorded))


def incremental(
    prepared: PreparedRun, recorded: RecordedRun, index: CassetteIndex | None = None, *, strict: bool = False
) -> PreparedRun:
    """The same run, whose model calls and judge's calls are answered from this recording as long as they are the same;
    the run itself when there are none. index: of its cassette, when it was read already. strict: no answer is taken
    after an edit of the mission, and without it none after any other of the prompt. Raises InputError for a recording
    that can't be read."""
    clean = prepared.redactor().structured
    replay = IncrementalReplay(recorded.cassette, "live", recorded=recorded, index=index).of(prepared.spec, clean)
    upstream, judge = prepared.upstream, prepared.judge
    if upstream and recorded.answers:
        if replay.edit:
            before, after = recorded.spec.mission, prepared.spec.mission
            told = recorded.spec.model_copy(update={"mission": after})
            is_mission = prompt_of(told, clean) == prompt_of(prepared.spec, clean)
            edit = edit_of(before, after) if is_mission and not strict else None
            until = _last_before(replay.opened, recorded.app, edit) if edit else 0
            replay = replace(replay, mission=after, until=until)
        upstream = replay.upstream(upstream)
    if judge and replay.has_judge:
        judge = replay.judge_upstream(judge)
    if upstream is prepared.upstream and judge is prepared.judge:
        return prepared
    return replace(prepared, replay=replay, upstream=upstream, judge=judge)


def _last_before(index: CassetteIndex, app: str, edit: Edit) -> int:
    """The number of the last model call whose answer, as all before it, belongs to a step before the edited one; 0 when
    there is none, or when that can't be told."""
    turns = [entry for entry in index.entries if entry.is_turn]
    as_mission = app_restorer(app)

    def said(entry: IndexedCall) -> Said:
        answer = read_answer(entry.call.dialect, index.answer(entry.number, in_pieces=False))
        calls = "\n".join(_texts([value for _, value in answer.calls])) if answer.calls else None
        return Said(as_mission(answer.text or ""), as_mission(answer.thinking or ""), calls and as_mission(calls))

    count = edit.answers_before(map(said, turns))
    return turns[count].number - 1 if count else 0


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
