"""Gateway: a replay up to the first request that changed; from there on its fallback answers everything."""

from dataclasses import dataclass, replace

from runbook_runner.core.errors import InputError
from runbook_runner.core.events import Difference
from runbook_runner.gateway.replay.difference import MatchResult
from runbook_runner.gateway.replay.index import CassetteIndex, IndexedCall
from runbook_runner.gateway.replay.replay import EXACT_MATCH, Choice, Replay, ReplayConnection
from runbook_runner.gateway.upstream import Connection, ModelRequest, Upstream


@dataclass(frozen=True)
class Prefix(Replay):
    """An Upstream that always has a fallback. A recorded answer is given once, only to the same request, and only while
    every request before it was the same, too. `until`: the last call that is given. `edit`: up to this call it counts
    as the same (`to_recorded` puts the recorded texts in its place), which is a minor difference."""

    def connect(self) -> "PrefixConnection":
        return PrefixConnection(self)


def load_prefix(
    index: CassetteIndex, fallback: Upstream, *, until: int | None = None, edit: tuple[Difference, ...] = ()
) -> Prefix:
    return Prefix(index, "live", until, fallback, edit=edit)


class PrefixConnection(ReplayConnection):
    """One session's progress in a prefix."""

    def __init__(self, prefix: Prefix):
        super().__init__(prefix)
        self._prefix = prefix

    def _choose(self, request: ModelRequest) -> Choice:
        if self._forked:
            return Choice("fallback")
        same = [entry for entry in self._index.exact_matches(self._profile(request)) if self._is_fresh(entry)]
        given = next((entry.number for entry in same if self._is_before_edit(entry)), None)
        edit = MatchResult("minor", self._prefix.edit, len(self._prefix.edit))
        if given is not None and self._is_readable(given):
            self._used[given] += 1
            return Choice("recorded", given, edit if self._prefix.edit else EXACT_MATCH)
        if request.operation != "generate":
            return Choice("fallback")  # it is no answer of the model, and nothing follows from it
        self._forked = True
        if same:
            return Choice("fallback", same[0].number, replace(edit, severity="major") if edit.total else EXACT_MATCH)
        return self._first_changed(request)

    def _first_changed(self, request: ModelRequest) -> Choice:
        """With the nearest recorded call, to tell what changed."""
        try:
            found = self._nearest(request)
        except InputError:
            found = None
        if found is None or found[1].severity == "exact":  # the recording ends here, or has no good answer
            return Choice("fallback")
        return Choice("fallback", *found)

    def _is_readable(self, number: int) -> bool:
        """Whether the answer is still there: its run may have been removed."""
        try:
            self._index.answer(number, in_pieces=False)
        except InputError:
            return False
        return True

    def _is_fresh(self, entry: IndexedCall) -> bool:
        return entry.answered and not self._used[entry.number]

    def _is_before_edit(self, entry: IndexedCall) -> bool:
        return self._prefix.until is None or entry.number <= self._prefix.until

    def _connection(self) -> Connection:
        if self._fallback is None:
            last = max((number for number, times in self._used.items() if times > 0), default=0)
            calls = (entry.call for entry in self._index.entries if entry.number <= last)
            given = sum(call.operation == "generate" and not call.side for call in calls)
            self._fallback = self._upstream.resumed(given).connect()
        return self._fallback
