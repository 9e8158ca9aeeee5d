"""Gateway: one model call on its way: from the agent to the upstream, back as it arrives, and into the recording."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runbook_runner.core.errors import RecordingError
from runbook_runner.core.events import Log
from runbook_runner.gateway.serve.call import Tape, outcome
from runbook_runner.gateway.serve.record import record
from runbook_runner.gateway.serve.session import Session
from runbook_runner.gateway.upstream import Answer, GatewayFailure, ModelRequest, UpstreamBroke, error_answer

_STEPS_TO_SEND: Final = 2  # of the event loop: the client library writes the request in a task of its own


class Relay(Response):
    """Serves one request of the agent. An ASGI response."""

    def __init__(self, session: Session, request: ModelRequest):
        super().__init__()
        self._session = session
        self._tape = Tape(request, session.count(), session.cassette)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work = asyncio.create_task(self._carry(send))
        self._session.begin(work)
        try:
            await self._converse(work, receive)
            await self._record()
            await self._finish(send)
        finally:
            work.cancel()
            self._tape.discard()
            self._session.end()

    async def _carry(self, send: Send) -> None:
        """Upstream to tape, and on to the agent when it is a stream.

        Recording is done here in the event loop: handing it to a thread and back costs more than it does itself.
        """
        tape = self._tape
        self._session.cassette.prepare()
        async with self._upstream_answer() as answer:
            tape.start(answer)
            for note in answer.notes:
                self._session.emit(Log(level="warning", message=note, source="gateway"))
            async for chunk in answer.body:
                self._session.touch()
                tape.add(chunk)
                if tape.at_once:
                    await self._send(send, chunk, more=True)

    @asynccontextmanager
    async def _upstream_answer(self) -> AsyncIterator[Answer]:
        request, session = self._tape.request, self._session
        reason = session.spending.refusal() if request.operation == "generate" else None
        if reason is not None:  # 400 is what all the CLIs take for final
            yield error_answer(request.dialect, 400, reason, GatewayFailure("budget", reason))
            return
        async with session.connection.answer(request) as answer:
            if request.operation == "generate" and not answer.spends:
                session.spending.give_back()
            yield answer

    async def _converse(self, work: asyncio.Task[None], receive: Receive) -> None:
        """Until the answer is there; the agent's going away ends it too, and with it the call at the provider."""
        gone = asyncio.create_task(_disconnected(receive))
        problem: BaseException | None = None
        try:
            problem = await self._keep_request()
            if problem is None:
                await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
                self._tape.gone = not work.done()
            work.cancel()
            await asyncio.wait({work})
        finally:
            gone.cancel()
        if problem is not None:
            _explain(problem, self._tape)
        elif work.cancelled():
            hung_up = "the agent closed the connection" if self._tape.gone else "the run ended before the answer did"
            self._tape.abort(hung_up)
        else:
            _explain(work.exception(), self._tape)
            if (nothing := self._tape.no_answer()) and not self._tape.sent:
                self._tape.abort(nothing)
        await self._replace_broken()

    async def _keep_request(self) -> Exception | None:
        """While the provider works on it; what went wrong, if anything did."""
        for _ in range(_STEPS_TO_SEND):
            await asyncio.sleep(0)
        try:
            self._tape.kept_request = self._session.cassette.keep_json(self._tape.request.json)
        except (RecordingError, RecursionError) as problem:
            return problem
        return None

    async def _replace_broken(self) -> None:
        """While nothing has gone out, a call that broke gets an error answer instead of a closed connection."""
        tape = self._tape
        self._session.failure = tape.failure or self._session.failure
        if not tape.broken or tape.sent or tape.gone:
            return
        status = 500 if tape.failure else 502
        said = self._session.cassette.clean(tape.error or "the call broke")  # some errors quote an address with a key
        answer = error_answer(tape.request.dialect, status, said)
        tape.start(answer)
        tape.broken, tape.chunks = False, [chunk async for chunk in answer.body]

    async def _record(self) -> None:
        """Before the agent gets the end of its answer; an answer that can't be recorded is not given."""
        tape = self._tape
        tape.end()
        result = outcome(tape, self._session.cost)
        self._session.usage += result.usage
        if tape.request.operation == "generate" and not tape.side:
            self._session.last = result
        if tape.spends:
            self._session.spending.add(tape.request.ask.model, result.usage, whole=result.whole)
        try:
            record(self._session, tape, result)
        except RecordingError as problem:
            tape.abort(str(problem), GatewayFailure("recording", str(problem)))
        except Exception as problem:  # a bug of ours must end the run with its name, not hang it
            tape.abort(_name(problem), GatewayFailure("internal", f"{_name(problem)}: {problem}"))
        else:
            return
        await self._replace_broken()

    async def _finish(self, send: Send) -> None:
        """The end of the answer. A stream that broke gets none: the server then closes the connection."""
        tape = self._tape
        if tape.gone or (tape.sent and tape.broken):
            return
        await self._send(send, b"" if tape.sent else tape.body, more=False)
        self._session.touch()

    async def _send(self, send: Send, body: bytes, *, more: bool) -> None:
        if not self._tape.sent:
            self._tape.sent = True
            headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self._tape.headers]
            await send({"type": "http.response.start", "status": self._tape.status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": more})


def _explain(problem: BaseException | None, tape: Tape) -> None:
    """What the conversation ended with, in words, and whether the run can go on."""
    if problem is None:
        return
    if isinstance(problem, UpstreamBroke):
        tape.abort(f"the provider's answer broke off: {problem}")
    elif isinstance(problem, RecordingError):
        tape.abort(str(problem), GatewayFailure("recording", str(problem)))
    elif isinstance(problem, RecursionError):
        tape.abort("the request is nested too deeply", GatewayFailure("internal", "a request was nested too deeply"))
    else:
        tape.abort(_name(problem), GatewayFailure("internal", f"{_name(problem)}: {problem}"))


def _name(problem: BaseException) -> str:
    return f"{type(problem).__name__} in the gateway"


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
