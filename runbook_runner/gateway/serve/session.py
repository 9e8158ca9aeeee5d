"""Gateway: one run's access to a model: its token, its usage, and the failures of its calls."""

import asyncio
import hmac
import time
from collections.abc import Iterable
from typing import Any, Final

from runbook_runner.core.events import Emit, Log, Usage
from runbook_runner.gateway.cassette.cassette import Cassette
from runbook_runner.gateway.serve.budget import Spending
from runbook_runner.gateway.serve.call import Outcome
from runbook_runner.gateway.upstream import GatewayFailure, ModelRequest, Upstream

CLOSE_S: Final = 10.0  # to cancel what is in flight and write it down
HOPELESS_S: Final = 3.0  # some CLIs go on asking for minutes, and take five more to end
_MOST_TOOLS: Final = 5000
_OF_THE_KEY: Final = ("authentication", "billing")  # every call with it fails
_OF_THE_RUN: Final = ("network", "not_found", "permission")  # of one model perhaps: another one may have answered


class Session:
    """Made by `Listener.open`. Its attributes may be read from any thread; the gateway's loop writes them."""

    def __init__(
        self,
        *,
        token: str,
        upstream: Upstream,
        cassette: Cassette,
        emit: Emit,
        spending: Spending,
        loop: asyncio.AbstractEventLoop,
    ):
        self.token = token
        self.calls = 0
        """Requests so far, answered or not."""
        self.tools: set[str] = set()
        """Names of the tools, and of their groups, that the agent's requests offered to the model."""
        self.conversation: tuple[Any, ...] = ()
        """The longest one that a request held, as its API writes it: what the agent told the model."""
        self.usage = Usage()
        """The sum over all calls that ended."""
        self.failure: GatewayFailure | None = None
        """The last failure after which the agent could not go on; `None` when there was none, or when a later call
        succeeded."""
        self.last_outcome: Outcome | None = None
        """Of the last call that was not a side request or a count of tokens; `None` before the first one."""
        self.last_activity = time.monotonic()
        """`time.monotonic()` of the last byte from the agent or from the model."""
        self._failing_since: float | None = None
        """When the first failure came after which no call succeeded."""
        self._answered = False
        self.source = upstream.source
        self.cost = upstream.cost
        self.cassette = cassette
        self.emit = emit
        self.connection = upstream.connect()
        self.spending = spending
        self.working = asyncio.Lock()
        """Held while a body of this session is worked on, so that it takes turns with other sessions."""
        self._loop = loop
        self._open = True
        self._told: set[str] = set()
        self._calls: dict[asyncio.Task[None], asyncio.Task[None]] = {}
        """Task that serves a call → task that talks to the upstream for it."""
        cassette.hide("RUN_TOKEN", token)

    @property
    def busy(self) -> bool:
        """A call is in progress or being recorded."""
        return bool(self._calls)

    @property
    def hopeless(self) -> GatewayFailure | None:
        """The failure that no further try of the agent has overcome for some seconds, and that none will."""
        failure, since = self.failure, self._failing_since
        if failure is None or since is None or time.monotonic() - since < HOPELESS_S:
            return None
        return failure if failure.kind in _OF_THE_KEY or (failure.kind in _OF_THE_RUN and not self._answered) else None

    @property
    def is_open(self) -> bool:
        return self._open

    def close(self) -> None:
        """Invalidates the token; cancels the calls in progress, at the provider too, and records them. Nothing is
        emitted after this returns. May be called twice, and after the server has stopped."""
        self._open = False
        if self._loop.is_closed():
            return
        drained = asyncio.run_coroutine_threadsafe(self._drain(), self._loop)
        try:
            drained.result(CLOSE_S)
        except TimeoutError:
            drained.cancel()
            self.emit = lambda _: None

    # --- for the gateway's loop ------------------------------------------------------------------------------------

    def admits(self, tokens: Iterable[str]) -> bool:
        """Whether one of the tokens is this session's. Compares in constant time."""
        own = self.token.encode()
        return any(hmac.compare_digest(own, token.encode()) for token in tokens) and self._open

    @property
    def blocked(self) -> GatewayFailure | None:
        """The failure after which no call is made any more, because it could not be recorded; `None` without one."""
        return self.failure if self.failure and self.failure.kind == "recording" else None

    def failed(self, failure: GatewayFailure) -> None:
        self.failure = failure
        self._failing_since = self._failing_since or time.monotonic()

    def ended(self, outcome: Outcome) -> None:
        """A call of the agent's main loop has ended."""
        self.last_outcome = outcome
        if outcome.succeeded and not self.blocked:
            self.failure, self._failing_since, self._answered = None, None, True

    def count(self, request: ModelRequest) -> int:
        """Returns the number of a new call."""
        self.calls += 1
        if len(request.parsed.conversation) >= len(self.conversation):
            self.conversation = request.parsed.conversation
        if len(self.tools) < _MOST_TOOLS:
            self.tools.update(name for tool in request.parsed.tools for name in (tool.name, tool.namespace) if name)
        return self.calls

    def begin(self, forwarding: asyncio.Task[None]) -> None:
        """The current task serves a call. forwarding: the task that talks to the upstream for it."""
        current = asyncio.current_task()
        assert current is not None
        self._calls[current] = forwarding

    def end(self) -> None:
        """The current task has served its call."""
        current = asyncio.current_task()
        assert current is not None
        self._calls.pop(current, None)

    def touch(self) -> None:
        self.last_activity = time.monotonic()

    def tell_once(self, warning: str) -> None:
        if warning not in self._told:
            self._told.add(warning)
            self.emit(Log(level="warning", message=warning, source="gateway"))

    async def _drain(self) -> None:
        for forwarding in self._calls.values():
            forwarding.cancel()
        if self._calls:
            await asyncio.wait(set(self._calls))
