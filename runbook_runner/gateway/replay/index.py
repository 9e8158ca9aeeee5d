"""Gateway: the index of a finished cassette, which finds the recorded call that has the same request."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook_runner.core.clock import now_iso
from runbook_runner.core.errors import InputError
from runbook_runner.core.redaction import Redactor
from runbook_runner.gateway.cassette.cassette import INDEX_FILE, Cassette, Exchange, RecordedCall
from runbook_runner.gateway.dialects import DIALECTS
from runbook_runner.gateway.dialects.base import Dialect, Json
from runbook_runner.gateway.replay.difference import MatchResult, compare
from runbook_runner.gateway.replay.matching import Kind, Profile, Profiler, nearest
from runbook_runner.gateway.replay.volatile import Normalise, days_of, normaliser

_HINT = "Only a run recorded with --record-mode full, which is the default, can be replayed."


@dataclass(frozen=True)
class IndexedCall:
    """One recorded call with the profile of its request."""

    call: RecordedCall
    dialect: Dialect
    profile: Profile

    @property
    def number(self) -> int:
        return self.call.number

    @property
    def answered(self) -> bool:
        """The agent got a complete answer."""
        return self.call.status == 200 and self.call.error is None and self.call.response is not None

    @property
    def is_turn(self) -> bool:
        """An answered call of the agent's main work."""
        return self.answered and self.call.operation == "generate" and not self.call.side


class CassetteIndex:
    """Not changed once made; may be shared by threads."""

    def __init__(self, cassette: Cassette, entries: tuple[IndexedCall, ...], normalise: Normalise):
        self.entries = entries
        self.normalise = normalise
        self._cassette = cassette
        self._by_number = {entry.number: entry for entry in entries}
        self._by_key: dict[tuple[Kind, bytes], list[IndexedCall]] = defaultdict(list)
        for entry in entries:
            self._by_key[entry.profile.kind, entry.profile.key].append(entry)

    @property
    def folder(self) -> Path:
        return self._cassette.folder

    def __getitem__(self, number: int) -> IndexedCall:
        return self._by_number[number]

    def exchange(self, number: int) -> Exchange:
        """Raises InputError when a part of the cassette is missing or was changed."""
        return self._cassette.exchange(self._by_number[number].call)

    def exchanges(self, entries: Iterable[IndexedCall]) -> Iterator[Exchange]:
        """Yields the calls of these entries. Raises InputError as `exchange`, and when it is too much in all."""
        return self._cassette.exchanges(entry.call for entry in entries)

    def answer(self, number: int, *, in_pieces: bool) -> Any:
        """Returns the response of this call, see `Exchange`. in_pieces: a text as an iterator of its bytes. Raises
        InputError as `exchange`."""
        call = self._by_number[number].call
        if in_pieces and call.response is not None and call.response.kind == "text":
            return self._cassette.pieces(call.response)
        return self._cassette.response(call)

    def exact_matches(self, asked: Profile) -> list[IndexedCall]:
        """Returns the calls with exactly this request, oldest first; only those that were answered, when any was."""
        found = self._by_key.get((asked.kind, asked.key), [])
        return [entry for entry in found if entry.answered] or found

    def nearest_match(
        self, asked: Profile, model: str, body: Json, used: Mapping[int, int]
    ) -> tuple[int, MatchResult] | None:
        """Returns the nearest call and how it differs; `None` without one of this kind. body: as it would be recorded.
        Raises InputError as `exchange`."""
        best: tuple[int, MatchResult] | None = None
        known = ((entry.number, entry.profile) for entry in self.entries)
        for number in nearest(asked, known, used):
            match = self._compare(number, model, body)
            if best is None or match.rank < best[1].rank:
                best = number, match
            if best[1].severity in ("exact", "minor"):
                break
        return best

    def _compare(self, number: int, model: str, body: Json) -> MatchResult:
        recorded = self.exchange(number)
        return compare((recorded.call.model, recorded.request or {}), (model, body), self.normalise)


def open_index(folder: Path, volatile_output: Iterable[str] = ()) -> CassetteIndex:
    """folder: a trajectory's `model/`. volatile_output: of the agent that made these calls. Raises InputError for
    no cassette, one without bodies, or a damaged one."""
    cassette = Cassette(folder, Redactor({}))
    calls = cassette.calls()
    if not calls:
        raise InputError("No model calls are recorded here.", where=str(folder / INDEX_FILE), hint=_HINT)
    if any(call.request is None for call in calls):
        raise InputError(
            "This recording has no requests and answers, only their metadata.",
            where=str(folder / INDEX_FILE),
            hint=_HINT,
        )
    normalise = normaliser(days_of([*(call.ts for call in calls), now_iso()]), volatile_output)
    return CassetteIndex(cassette, tuple(_entries(cassette, calls, normalise)), normalise)


def _entries(cassette: Cassette, calls: Iterable[RecordedCall], normalise: Normalise) -> Iterable[IndexedCall]:
    profiler, dialects = Profiler(normalise), {dialect.name: dialect for dialect in DIALECTS}
    for exchange in cassette.exchanges(calls):
        call = exchange.call
        dialect = dialects.get(call.dialect)
        if dialect is None:
            raise InputError(
                f"Model call {call.number} is in an unknown API, {call.dialect!r}.", where=str(cassette.folder)
            )
        body = exchange.request or {}
        stream = dialect.parse_request(call.path.partition("?")[0], body).stream
        kind = (call.dialect, call.operation, stream)
        yield IndexedCall(call, dialect, profiler.profile(kind, call.model, body))
