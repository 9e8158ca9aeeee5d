"""Gateway: a replay, the upstream that answers from a cassette. Every difference from it is reported as an event."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from runbook_runner.core.errors import InputError
from runbook_runner.core.events import Difference, ReplayDiverged
from runbook_runner.core.text import counted
from runbook_runner.gateway.dialects.base import ParsedResponse
from runbook_runner.gateway.replay.difference import MAX_SHOWN, MatchResult, difference_text
from runbook_runner.gateway.replay.index import CassetteIndex, IndexedCall, open_index
from runbook_runner.gateway.replay.matching import Profile, Profiler
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

EXACT_MATCH: Final = MatchResult("exact", (), 0)
_NO_MATCH: Final = MatchResult("miss", (), 0)
_SHOWN: Final = 3


@dataclass(frozen=True)
class Replay:
    """A cassette and how to replay it. An Upstream; see `load_replay`."""

    index: CassetteIndex = field(repr=False)
    on_miss: OnMiss = "stop"
    """For a request that was not recorded: end the run, ask `fallback`, or take the answer to the nearest one."""
    until: int | None = None
    """A fork: answer from recorded calls up to this number, then ask `fallback`. `None`: from all of them."""
    fallback: Upstream | None = None
    """Answers what the cassette does not; `None`: nothing does."""
    clean: Callable[[Any], Any] = lambda value: value
    """Removes this run's secrets from a request, as they were removed from the recorded ones."""
    to_local: Translate = str
    """Translates paths of the recorded sandbox to paths of this one; `str` where they are the same."""
    to_recorded: Translate = str
    """The reverse."""
    refusal: str = ""
    """What is said of a miss, for people, where a major difference is a miss as well; empty: its answer is taken."""
    edit: tuple[Difference, ...] = ()
    """How the agent is told something else than the recorded one was, also where no request shows it: in what counts
    there as volatile. A major difference of each answer that is given in spite of it."""
    source: Literal["replay"] = "replay"

    def connect(self) -> "ReplayConnection":
        return ReplayConnection(self)

    def cost(self, model: str, response: ParsedResponse) -> float | None:
        """For answers of the fallback; recorded answers have their cost with them."""
        return self.fallback.cost(model, response) if self.fallback else None

    @property
    def address(self) -> str | None:
        return self.fallback.address if self.fallback else None

    def secret_values(self) -> dict[str, str]:
        return self.fallback.secret_values() if self.fallback else {}

    def resumed(self, turns: int) -> "Replay":
        return self

    def placed(self, localise: Translate) -> "Replay":
        return replace(self, fallback=self.fallback and self.fallback.placed(localise))

    def recorded_with(self, clean: Callable[[Any], Any], to_local: Translate, to_recorded: Translate) -> "Replay":
        """Returns the same replay for a cassette that is being recorded, in the sandbox of these translations."""
        return replace(self, clean=clean, to_local=to_local, to_recorded=to_recorded)


def load_replay(
    folder: Path,
    *,
    on_miss: OnMiss = "stop",
    until: int | None = None,
    fallback: Upstream | None = None,
    refusal: str = "",
    edit: tuple[Difference, ...] = (),
    volatile_output: Iterable[str] = (),
) -> Replay:
    """folder: a trajectory's `model/`. refusal, edit: see `Replay`. volatile_output: see `open_index`. Raises
    InputError when it can't be replayed, or has no call `until`."""
    index = open_index(folder, volatile_output)
    last = index.entries[-1].number
    if until is not None and not 0 <= until <= last:
        raise InputError(f"There is no model call {until}: the recording has {last}.", where=str(folder))
    return Replay(index, on_miss, until, fallback, refusal=refusal, edit=edit)


@dataclass(frozen=True)
class Choice:
    """How a request is answered."""

    served: Literal["recorded", "estimate", "fallback", "nothing"]
    number: int | None = None
    """Of the recorded call with the same request, or the nearest; `None` without one."""
    match: MatchResult = EXACT_MATCH


class ReplayConnection:
    """One session's progress in a cassette."""

    def __init__(self, replay: Replay):
        self._replay = replay
        self._index = replay.index
        self._profiler = Profiler(self._index.normalise)
        self._used: Counter[int] = Counter()
        self._names, self._recorded_names = Renaming(), Renaming()
        """Names of processes: from the cassette to this run, and the reverse."""
        self._reported: set[Difference] = set()
        self._forked = False
        self._failure: GatewayFailure | None = None
        self._fallback: Connection | None = None
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
        except InputError as error:
            yield self._stop(request, f"the recording can't be replayed any further: {error}")
            return
        async with self._answered(request, choice, recorded) as answer:
            yield replace(answer, divergence=self._divergence(choice))

    @asynccontextmanager
    async def _answered(
        self, request: ModelRequest, choice: Choice, recorded: Recorded | None
    ) -> AsyncIterator[Answer]:
        if recorded is not None:
            async with self._played(recorded) as answer:
                # A plain replay ends where the budget ended the run; with a fallback only its calls use the budget.
                yield replace(answer, uses_budget=self._replay.fallback is None)
        elif choice.served == "fallback":
            async with self._connection().answer(request) as answer:
                yield replace(answer, source=answer.source or self._upstream.source)
        elif choice.served == "estimate":
            yield estimate(request)
        else:
            yield self._stop(request, self._replay.refusal or _missed(choice))

    @asynccontextmanager
    async def _played(self, recorded: Recorded) -> AsyncIterator[Answer]:
        """An answer that was cut off counts as not given: the agent will ask again."""
        number, given = recorded.call.number, False

        async def whole(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
            nonlocal given
            async for chunk in body:
                yield chunk
            given = True

        to_local = self._to_local if isinstance(recorded.response, str) else self._replay.to_local
        answer = playback(recorded, self._index[number].dialect, to_local)
        try:
            yield replace(answer, body=whole(answer.body))
        finally:
            self._used[number] -= not given

    # --- choosing --------------------------------------------------------------------------------------------------

    def _choose(self, request: ModelRequest) -> Choice:
        """Used in a thread, one at a time: comparing long conversations takes a while."""
        if matches := self._index.exact_matches(self._profile(request)):
            choice = Choice("recorded", self._next(matches), self._after_edit(EXACT_MATCH))
        else:
            number, match = self._nearest(request) or (None, _NO_MATCH)
            if self._replay.refusal and match.severity == "major":
                match = replace(match, severity="miss")
            choice = Choice("recorded" if match.severity != "miss" else "nothing", number, self._after_edit(match))
            self._learn(choice, request)
        choice = self._by_policy(self._by_fork(choice), request)
        if choice.served == "recorded" and choice.number is not None:
            self._used[choice.number] += 1
        return choice

    def _after_edit(self, match: MatchResult) -> MatchResult:
        edit = self._replay.edit
        if not edit or match.severity in ("major", "miss"):
            return match
        return MatchResult("major", (*edit, *match.differences)[:MAX_SHOWN], len(edit) + match.total)

    def _profile(self, request: ModelRequest) -> Profile:
        kind = (request.dialect.name, request.operation, request.parsed.stream)
        return self._profiler.profile(kind, request.parsed.model, request.json, self._as_recorded)

    def _nearest(self, request: ModelRequest) -> tuple[int, MatchResult] | None:
        body = {key: self._as_recorded(value) for key, value in request.json.items()}
        return self._index.nearest_match(self._profile(request), request.parsed.model, body, self._used)

    def _next(self, matches: list[IndexedCall]) -> int:
        """Returns the first call that was not given yet; a question that is asked more often gets the last one."""
        fresh = [entry.number for entry in matches if not self._used[entry.number]]
        return fresh[0] if fresh else matches[-1].number

    def _by_fork(self, choice: Choice) -> Choice:
        """After the fork the fallback answers: requests are not compared with recorded ones any more."""
        until = self._replay.until
        if until is None or self._replay.fallback is None:
            return choice
        if choice.served == "recorded" and choice.number is not None and choice.number <= until:
            return choice
        turns = [entry.number for entry in self._index.entries if entry.is_turn and entry.number <= until]
        if choice.served == "recorded" or self._forked or all(self._used[number] for number in turns):
            self._forked = True
            return Choice("fallback")
        return choice

    def _by_policy(self, choice: Choice, request: ModelRequest) -> Choice:
        if choice.served != "nothing":
            return choice
        if request.operation == "count_tokens":
            return replace(choice, served="estimate")
        if self._replay.on_miss == "live" and self._replay.fallback:
            return replace(choice, served="fallback")
        if self._replay.on_miss == "nearest" and choice.number is not None:
            return replace(choice, served="recorded")
        return choice

    def _recorded(self, choice: Choice) -> Recorded | None:
        """Returns the recorded call to play; `None` when another answer was chosen."""
        if choice.served != "recorded" or choice.number is None:
            return None
        response = self._index.answer(choice.number, in_pieces=self._replay.to_local is str and not self._names)
        whole = isinstance(response, (str, Iterator))
        return Recorded(self._index[choice.number].call, response if whole else self._names.value(response))

    def _learn(self, choice: Choice, request: ModelRequest) -> None:
        if choice.served != "recorded" or choice.number is None:
            return
        recorded, known = self._index.exchange(choice.number).request, len(self._names)
        self._names.learn(recorded, request.json)
        self._recorded_names.learn(request.json, recorded)
        if len(self._names) != known:  # the profiles made so far contain these names
            self._profiler = Profiler(self._index.normalise)

    def _to_local(self, text: str) -> str:
        return self._names.text(self._replay.to_local(text))

    def _as_recorded(self, value: Any) -> Any:
        return self._replay.clean(self._recorded_names.value(translated(value, self._replay.to_recorded)))

    # --- reporting -------------------------------------------------------------------------------------------------

    def _divergence(self, choice: Choice) -> ReplayDiverged | None:
        """Differences that were reported before are only counted: each request repeats the conversation."""
        match = choice.match
        if match.severity == "exact":
            return None
        estimated = choice.served == "estimate"
        answered_by: Literal["script", "live"] = (
            "script" if self._replay.fallback and self._upstream.source == "script" else "live"
        )
        new = tuple(d for d in match.differences if d not in self._reported)
        self._reported.update(new)
        return ReplayDiverged(
            recorded=choice.number,
            severity="minor" if estimated else match.severity,
            served=answered_by if choice.served == "fallback" else choice.served,
            differences=new,
            total=match.total,
        )

    def _stop(self, request: ModelRequest, message: str) -> Answer:
        self._failure = GatewayFailure("replay", message)
        return self._refusal(request)

    def _refusal(self, request: ModelRequest) -> Answer:
        assert self._failure is not None
        return error_answer(request.dialect, 400, self._failure.message, self._failure)

    @property
    def _upstream(self) -> Upstream:
        assert self._replay.fallback is not None
        return self._replay.fallback

    def _connection(self) -> Connection:
        self._fallback = self._fallback or self._upstream.connect()
        return self._fallback


def _missed(choice: Choice) -> str:
    if choice.number is None:
        return "the recording has no answer to this model call, nor to a similar one"
    shown = "\n".join(difference_text(difference) for difference in choice.match.differences[:_SHOWN])
    more = choice.match.total - _SHOWN
    rest = f"\nand {counted(more, 'more difference')}" if more > 0 else ""
    return f"the recording has no answer to this model call; the nearest, call {choice.number}, differs:\n{shown}{rest}"
