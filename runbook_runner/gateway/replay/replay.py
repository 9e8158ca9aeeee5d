"""Gateway: a replay, the upstream that answers from a recording. Never silently: what is not the same is an event."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from runbook_runner.core.errors import InputError
from runbook_runner.core.events import Difference, ReplayDiverged
from runbook_runner.gateway.dialects.base import Json, ParsedResponse
from runbook_runner.gateway.replay.difference import Verdict, readable
from runbook_runner.gateway.replay.index import CassetteIndex, IndexedCall, open_index
from runbook_runner.gateway.replay.matching import Profiler
from runbook_runner.gateway.replay.playback import Recorded, Translate, estimate, playback, translated
from runbook_runner.gateway.replay.process_names import Renaming
from runbook_runner.gateway.upstream import (
    Answer,
    Connection,
    GatewayFailure,
    ModelRequest,
    Upstream,
    error_answer,
)

OnMiss = Literal["stop", "live", "nearest"]
ON_MISS: Final[tuple[OnMiss, ...]] = ("stop", "live", "nearest")

_EXACT: Final = Verdict("exact", (), 0)
_NOTHING_ALIKE: Final = Verdict("miss", (), 0)
_SHOWN: Final = 3


@dataclass(frozen=True)
class Replay:
    """A recording and how to play it. An Upstream; see `load_replay`."""

    library: CassetteIndex = field(repr=False)
    on_miss: OnMiss = "stop"
    """For a request that is none of the recorded: end the run, ask `beyond`, or take the nearest answer anyway."""
    until: int | None = None
    """Serve recorded calls up to this number, then ask `beyond`: a fork. `None`: all."""
    beyond: Upstream | None = None
    """Who answers what the recording does not."""
    clean: Callable[[Any], Any] = lambda value: value
    """What this run's recording does to a request before it is kept; the recorded ones were treated alike."""
    here: Translate = str
    """Paths of the recorded sandbox → paths of this one; `str` where they are the same."""
    back: Translate = str
    """The reverse."""
    source: Literal["replay"] = "replay"

    def connect(self) -> "ReplayConnection":
        return ReplayConnection(self)

    def cost(self, model: str, response: ParsedResponse) -> float | None:
        """For what comes from beyond; recorded answers bring their own."""
        return self.beyond.cost(model, response) if self.beyond else None

    def secret_values(self) -> dict[str, str]:
        return self.beyond.secret_values() if self.beyond else {}

    def placed(self, clean: Callable[[Any], Any], here: Translate, back: Translate) -> "Replay":
        """The same replay for one sandbox and one recording under way."""
        return replace(self, clean=clean, here=here, back=back)


def load_replay(
    folder: Path, *, on_miss: OnMiss = "stop", until: int | None = None, beyond: Upstream | None = None
) -> Replay:
    """folder: a trajectory's `model/`. Raises InputError when it can't be replayed, or not up to there."""
    library = open_index(folder)
    last = library.entries[-1].number
    if until is not None and not 0 <= until <= last:
        raise InputError(f"There is no model call {until}: the recording has {last}.", where=str(folder))
    return Replay(library, on_miss, until, beyond)


@dataclass(frozen=True)
class Choice:
    """What a request gets."""

    served: Literal["recorded", "estimate", "beyond", "nothing"]
    number: int | None = None
    """Of the recorded call that is the same or the nearest."""
    verdict: Verdict = _EXACT


class ReplayConnection:
    """One session's place in a recording."""

    def __init__(self, replay: Replay):
        self._replay = replay
        self._library = replay.library
        self._profiler = Profiler(self._library.settle)
        self._used: Counter[int] = Counter()
        self._names, self._recorded_names = Renaming(), Renaming()
        """Of processes: recorded → here, and back."""
        self._told: set[Difference] = set()
        self._forked = False
        self._failure: GatewayFailure | None = None
        self._beyond: Connection | None = None
        self._choosing = asyncio.Lock()

    @asynccontextmanager
    async def answer(self, request: ModelRequest) -> AsyncIterator[Answer]:
        if self._failure:
            yield self._refusal(request)
            return
        try:
            async with self._choosing:
                choice = await asyncio.to_thread(self._choose, request)
            recorded = await asyncio.to_thread(self._recorded, choice)
        except InputError as damaged:
            yield self._stop(request, f"the recording can't be replayed any further: {damaged}")
            return
        async with self._answered(request, choice, recorded) as answer:
            yield replace(answer, divergence=self._divergence(choice))

    @asynccontextmanager
    async def _answered(
        self, request: ModelRequest, choice: Choice, recorded: Recorded | None
    ) -> AsyncIterator[Answer]:
        if recorded is not None:
            async with self._played(recorded) as answer:
                # A plain repetition ends where the budget ended the run; what goes on from it has a budget of its own.
                yield replace(answer, uses_budget=self._replay.beyond is None)
        elif choice.served == "beyond":
            async with self._connection().answer(request) as answer:
                yield replace(answer, source=answer.source or self._upstream.source)
        elif choice.served == "estimate":
            yield estimate(request)
        else:
            yield self._stop(request, _missed(choice))

    @asynccontextmanager
    async def _played(self, recorded: Recorded) -> AsyncIterator[Answer]:
        """An answer that the agent did not get to its end counts as not given: it will ask again."""
        number, given = recorded.call.number, False

        async def whole(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
            nonlocal given
            async for chunk in body:
                yield chunk
            given = True

        here = self._here if isinstance(recorded.response, str) else self._replay.here
        answer = playback(recorded, self._library[number].dialect, here)
        try:
            yield replace(answer, body=whole(answer.body))
        finally:
            self._used[number] -= not given

    # --- choosing --------------------------------------------------------------------------------------------------

    def _choose(self, request: ModelRequest) -> Choice:
        """In a thread, one at a time: looking through a long conversation takes a while."""
        parsed = request.parsed
        kind = (request.dialect.name, request.operation, parsed.stream)
        asked = self._profiler.profile(kind, parsed.model, request.json, self._as_recorded)
        same = self._library.same(asked)
        if same:
            choice = Choice("recorded", self._next(same))
        else:
            found = self._library.like(asked, parsed.model, self._whole(request.json), self._used)
            number, verdict = found or (None, _NOTHING_ALIKE)
            choice = Choice("recorded" if verdict.severity != "miss" else "nothing", number, verdict)
            self._learn(choice, request)
        choice = self._by_policy(self._by_fork(choice), request)
        if choice.served == "recorded" and choice.number is not None:
            self._used[choice.number] += 1
        return choice

    def _next(self, same: list[IndexedCall]) -> int:
        """The first that was not given yet; a question asked once more than in the recording gets the last again."""
        fresh = [entry.number for entry in same if not self._used[entry.number]]
        return fresh[0] if fresh else same[-1].number

    def _by_fork(self, choice: Choice) -> Choice:
        """Beyond the fork nobody expects recorded requests: nothing to compare, nothing to report."""
        until = self._replay.until
        if until is None or self._replay.beyond is None:
            return choice
        if choice.served == "recorded" and choice.number is not None and choice.number <= until:
            return choice
        turns = [entry.number for entry in self._library.entries if entry.is_turn and entry.number <= until]
        if choice.served == "recorded" or self._forked or all(self._used[number] for number in turns):
            self._forked = True
            return Choice("beyond")
        return choice

    def _by_policy(self, choice: Choice, request: ModelRequest) -> Choice:
        if choice.served != "nothing":
            return choice
        if request.operation == "count_tokens":
            return replace(choice, served="estimate")
        if self._replay.on_miss == "live" and self._replay.beyond:
            return replace(choice, served="beyond")
        if self._replay.on_miss == "nearest" and choice.number is not None:
            return replace(choice, served="recorded")
        return choice

    def _recorded(self, choice: Choice) -> Recorded | None:
        """What is to be played, if anything is."""
        if choice.served != "recorded" or choice.number is None:
            return None
        response = self._library.answer(choice.number, in_pieces=self._replay.here is str and not self._names)
        whole = isinstance(response, (str, Iterator))
        return Recorded(self._library[choice.number].call, response if whole else self._names.value(response))

    def _learn(self, choice: Choice, request: ModelRequest) -> None:
        if choice.served != "recorded" or choice.number is None:
            return
        recorded, known = self._library.exchange(choice.number).request, len(self._names)
        self._names.learn(recorded, request.json)
        self._recorded_names.learn(request.json, recorded)
        if len(self._names) != known:  # what was looked at before has these names in it
            self._profiler = Profiler(self._library.settle)

    def _here(self, text: str) -> str:
        return self._names.text(self._replay.here(text))

    def _as_recorded(self, value: Any) -> Any:
        return self._replay.clean(self._recorded_names.value(translated(value, self._replay.back)))

    def _whole(self, body: Json) -> Json:
        return {key: self._as_recorded(value) for key, value in body.items()}

    # --- telling ---------------------------------------------------------------------------------------------------

    def _divergence(self, choice: Choice) -> ReplayDiverged | None:
        """Differences that were told before are only counted: each request repeats the conversation."""
        verdict = choice.verdict
        if verdict.severity == "exact":
            return None
        estimated = choice.served == "estimate"
        beyond = "script" if self._replay.beyond and self._upstream.source == "script" else "live"
        new = tuple(d for d in verdict.differences if d not in self._told)
        self._told.update(new)
        return ReplayDiverged(
            recorded=choice.number,
            severity="minor" if estimated else verdict.severity,
            served=beyond if choice.served == "beyond" else choice.served,
            differences=new,
            total=verdict.total,
        )

    def _stop(self, request: ModelRequest, message: str) -> Answer:
        self._failure = GatewayFailure("replay", message)
        return self._refusal(request)

    def _refusal(self, request: ModelRequest) -> Answer:
        assert self._failure is not None
        return error_answer(request.dialect, 400, self._failure.message, self._failure)

    @property
    def _upstream(self) -> Upstream:
        assert self._replay.beyond is not None
        return self._replay.beyond

    def _connection(self) -> Connection:
        self._beyond = self._beyond or self._upstream.connect()
        return self._beyond


def _missed(choice: Choice) -> str:
    if choice.number is None:
        return "the recording has no answer to this model call, nor one to anything like it"
    shown = "\n".join(readable(difference) for difference in choice.verdict.differences[:_SHOWN])
    more = choice.verdict.total - _SHOWN
    rest = f"\nand {more} more differences" if more > 0 else ""
    return f"the recording has no answer to this model call; the nearest, call {choice.number}, differs:\n{shown}{rest}"
