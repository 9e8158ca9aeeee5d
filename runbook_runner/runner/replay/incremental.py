"""Runner: a live run whose first model calls are answered from a recording, up to the first request that changed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runbook_runner.core.events import ReplayOf
from runbook_runner.core.settings import APP
from runbook_runner.gateway import load_prefix
from runbook_runner.gateway.cassette.answers import read_answer
from runbook_runner.gateway.replay.index import CassetteIndex, open_index
from runbook_runner.runner.replay.cassette import CassetteReplay, relocation
from runbook_runner.runner.replay.edit import Edit, edit_of
from runbook_runner.runner.replay.recorded_run import RecordedRun
from runbook_runner.runner.request.prepared_run import PreparedRun
from runbook_runner.sandbox.paths import app_restorer

if TYPE_CHECKING:
    from runbook_runner.gateway import Cassette, Replay, Upstream


@dataclass(frozen=True)
class IncrementalReplay(CassetteReplay):
    index: CassetteIndex | None = None
    """Of the cassette; `None`: it is read when it is needed."""
    edit: Edit | None = None
    """The mission counts as the recorded one up to call `until`."""

    @property
    def is_incremental(self) -> bool:
        return True

    def described(self) -> ReplayOf:
        return super().described().model_copy(update={"mode": "incremental"})

    def upstream(self, fallback: "Upstream | None") -> "Replay":
        assert fallback
        differences = self.edit.differences if self.edit else ()
        return load_prefix(self.opened, fallback, until=self.until, edit=differences)

    @property
    def opened(self) -> CassetteIndex:
        return self.index or open_index(self.cassette)

    def judge_upstream(self, fallback: "Upstream | None") -> "Replay":
        assert fallback
        return load_prefix(open_index(self._judge), fallback)

    def recorded_with(self, replay: "Replay", cassette: "Cassette", app: str) -> "Replay":
        placed = super().recorded_with(replay, cassette, app)
        if self.edit is None or self.recorded is None:
            return placed
        to_there = relocation(APP, self.recorded.app)
        before, after = (to_there(text).rstrip() for text in (self.edit.before, self.edit.after))
        to_recorded = placed.to_recorded
        return replace(placed, to_recorded=lambda text: to_recorded(text).replace(after, before))


def incremental(
    prepared: PreparedRun, recorded: RecordedRun, index: CassetteIndex | None = None, *, strict: bool = False
) -> PreparedRun:
    """The same run, whose model calls and judge's calls are answered from this recording as long as they are the same;
    the run itself when none can be. index: of its cassette, when it was read already. strict: an edit of the mission
    changes every request. Raises InputError for a recording that can't be read."""
    replay = IncrementalReplay(recorded.cassette, "live", recorded=recorded, index=index)
    upstream, judge = prepared.upstream, prepared.judge
    if upstream and recorded.answers:
        edit = None if strict else edit_of(recorded.spec.mission, prepared.spec.mission)
        until = _last_before(replay.opened, recorded.app, edit) if edit else None
        if until != 0:
            replay = replace(replay, edit=edit, until=until)
            upstream = replay.upstream(upstream)
    if judge and replay.has_judge:
        judge = replay.judge_upstream(judge)
    if upstream is prepared.upstream and judge is prepared.judge:
        return prepared
    return replace(prepared, replay=replay, upstream=upstream, judge=judge)


def _last_before(index: CassetteIndex, app: str, edit: Edit) -> int:
    """The number of the last model call whose answer is from before the edited step; 0 when there is none, or when that
    can't be told."""
    as_mission = app_restorer(app)
    for entry in (entry for entry in index.entries if entry.is_turn):
        answer = read_answer(entry.call.dialect, index.answer(entry.number, in_pieces=False))
        said = "\n".join(_texts([answer.text, answer.thinking, [value for _, value in answer.calls]]))
        if edit.is_named_in(as_mission(said)):
            return entry.number - 1
    return 0


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
