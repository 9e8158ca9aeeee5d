"""Gateway: relays one model call from the agent to the upstream and back, and has it recorded."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runbook_runner.core.errors import RecordingError
from runbook_runner.core.events import Log, Source
from runbook_runner.gateway.large import work
from runbook_runner.gateway.serve.call import ModelCall
from runbook_runner.gateway.serve.record import record
from runbook_runner.gateway.serve.session import Session
from runbook_runner.gateway.upstream import Answer, GatewayFailure, ModelRequest, UpstreamBroke, error_answer

PING_S: Final = 30.0
_ANSWERS: Final[Mapping[Source, str]] = {
    "provider": "the provider's answer",
    "script": "the script's answer",
    "replay": "the recorded answer",
}
_STEPS_TO_SEND: Final = 2  # of the event loop: the client library writes the request in a task of its own


class Relay(Response):
    """Serves one request of the agent. An ASGI response."""

    def __init__(self, session: Session, request: ModelRequest):
        super().__init__()
        self._session = session
        self._call = ModelCall(request, session.count(request), session.source, session.cassette)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        forwarding = asyncio.create_task(self._forward(send))
        self._session.begin(forwarding)
        pinging = asyncio.create_task(self._ping(send))
        try:
            await self._wait(forwarding, receive)
            pinging.cancel()
            await self._record()
            await self._finish(send)
        finally:
            pinging.cancel()
            forwarding.cancel()
            self._call.discard()
            self._session.end()

    async def _forward(self, send: Send) -> None:
        """Asks the upstream and collects its answer; sends it on at once when it is a stream.

        The answer is recorded in the event loop: handing it to a thread and back costs more than recording it.
        """
        call = self._call
        self._session.cassette.prepare()
        async with self._upstream_answer() as answer:
            call.start(answer)
            for note in answer.notes:
                self._session.emit(Log(level="warning", message=note, source="gateway"))
            async for chunk in answer.body:
                self._session.touch()
                call.add(chunk)
                if call.unbuffered:
                    await self._send(send, chunk, more=True)

    async def _ping(self, send: Send) -> None:
        """Some CLIs give up an answer that says nothing for five minutes, while a model may think for longer. When the
        provider is gone the call ends, and so do the pings."""
        call = self._call
        while True:
            before = call.received
            await asyncio.sleep(PING_S)
            stream = call.event_stream
            if stream and call.status == 200 and call.received == before and stream.between_events:
                await self._send(send, call.request.dialect.ping, more=True)

    @asynccontextmanager
    async def _upstream_answer(self) -> AsyncIterator[Answer]:
        request, session = self._call.request, self._session
        reason = session.spending.count_call() if request.operation == "generate" else None
        if reason is not None:  # 400 is what all the CLIs take for final
            yield error_answer(request.dialect, 400, reason, GatewayFailure("budget", reason))
            return
        async with session.connection.answer(request) as answer:
            if request.operation == "generate" and not answer.uses_budget:
                session.spending.uncount_call()
            yield answer

    async def _wait(self, forwarding: asyncio.Task[None], receive: Receive) -> None:
        """Until the answer is complete or broken. An agent that hangs up ends the call, at the provider too."""
        call, hung_up = self._call, asyncio.create_task(_hung_up(receive))
        error: BaseException | None = None
        try:
            error = await self._keep_request()
            if error is None:
                await asyncio.wait({forwarding, hung_up}, return_when=asyncio.FIRST_COMPLETED)
                call.hung_up = not forwarding.done()
            forwarding.cancel()
            await asyncio.wait({forwarding})
        finally:
            hung_up.cancel()
        call.end()
        if error is None and forwarding.cancelled():
            call.abort("the agent closed the connection" if call.hung_up else "the run ended before the answer did")
        elif error := error or forwarding.exception():
            _abort(call, error)
        elif (reason := call.why_unusable()) and not call.sent:
            call.abort(reason, ended=True)
        elif call.is_cut:
            _abort(call, UpstreamBroke("the stream ended before the answer did"))
        await self._replace_broken()

    async def _keep_request(self) -> Exception | None:
        """Records the request while the provider works on it. Returns the error of a request that can't be recorded."""
        for _ in range(_STEPS_TO_SEND):
            await asyncio.sleep(0)
        session, request = self._session, self._call.request
        try:
            async with session.working:
                self._call.kept_request = await work(request.large, session.cassette.keep_json, request.json)
        except (RecordingError, RecursionError) as error:
            return error
        return None

    async def _replace_broken(self) -> None:
        """Gives a broken call an error answer instead of a closed connection, as long as nothing has been sent."""
        call = self._call
        if call.failure and (call.asks_the_model or call.failure.kind in ("recording", "internal")):
            self._session.failed(call.failure)
        if not call.broken or call.sent or call.hung_up:
            return
        status = 500 if call.failure else 502
        said = self._session.cassette.clean(call.error or "the call broke")  # some errors quote an address with a key
        answer = error_answer(call.request.dialect, status, said)
        call.start(answer)
        call.broken, call.chunks = False, [chunk async for chunk in answer.body]

    async def _record(self) -> None:
        """Before the agent gets the end of its answer: an answer that can't be recorded is not given."""
        call, session = self._call, self._session
        of_provider = call.source == "provider"
        outcome = call.outcome(session.cost, estimates=of_provider)
        session.usage += outcome.usage
        if call.asks_the_model:
            session.ended(outcome)
        if call.uses_budget:
            tells = bool(outcome.usage.all_tokens) or not of_provider
            session.spending.add(call.request.parsed.model, outcome.usage, succeeded=outcome.succeeded, tells=tells)
        try:
            record(session, call, outcome)
        except Exception as error:  # a bug here must end the run with its name, not hang it
            _abort(call, error)
            await self._replace_broken()

    async def _finish(self, send: Send) -> None:
        """Sends the end of the answer. A broken stream gets none: the server then closes the connection."""
        call = self._call
        if call.hung_up or (call.sent and call.broken):
            return
        await self._send(send, b"" if call.sent else call.body, more=False)
        self._session.touch()

    async def _send(self, send: Send, body: bytes, *, more: bool) -> None:
        if not self._call.sent:
            self._call.sent = True
            headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self._call.headers]
            await send({"type": "http.response.start", "status": self._call.status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": more})


def _abort(call: ModelCall, error: BaseException) -> None:
    """Ends a call with this error, and says whether the run can go on."""
    if isinstance(error, UpstreamBroke):
        call.broke_off = True
        call.abort(f"{_ANSWERS[call.source]} broke off: {error}")
    elif isinstance(error, RecordingError):
        call.abort(str(error), GatewayFailure("recording", str(error)))
    elif isinstance(error, RecursionError):
        call.abort("the request is nested too deeply", GatewayFailure("internal", "a request was nested too deeply"))
    else:
        name = f"{type(error).__name__} in the gateway"
        call.abort(name, GatewayFailure("internal", f"{name}: {error}"))


async def _hung_up(receive: Receive) -> None:
    """Returns when the agent has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
