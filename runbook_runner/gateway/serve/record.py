"""Gateway: writes a finished model call to the cassette and tells the run about it."""

import json
from typing import Any

from runbook_runner.core.events import ModelCalled, Stop
from runbook_runner.gateway.cassette.cassette import Body, Cassette, RecordedCall
from runbook_runner.gateway.dialects import sse
from runbook_runner.gateway.serve.call import Outcome, Tape
from runbook_runner.gateway.serve.session import Session


def record(session: Session, tape: Tape, outcome: Outcome) -> None:
    """Cassette first, then the event: what is announced can be looked up. Raises RecordingError."""
    request = tape.request
    call = RecordedCall(
        number=tape.number,
        ts=tape.ts,
        dialect=request.dialect.name,
        operation=request.operation,
        path=f"{request.path}?{request.query}" if request.query else request.path,
        model=request.ask.model,
        source=tape.source or session.source,
        status=outcome.status,
        seconds=tape.seconds,
        ttfb=tape.ttfb,
        usage=outcome.usage,
        stream=tape.stream,
        side=tape.side,
        error=outcome.error,
        request_headers=session.cassette.keep_headers(dict(request.headers)),
        response_headers=session.cassette.keep_headers(dict(tape.headers)),
        request=tape.kept_request,
        response=_keep_response(session.cassette, tape),
    )
    session.cassette.append(call)
    session.emit(_event(session.cassette, call, outcome.stop))
    if tape.divergence is not None:
        session.emit(tape.divergence.model_copy(update={"number": tape.number}))


def _event(cassette: Cassette, call: RecordedCall, stop: Stop | None) -> ModelCalled:
    return ModelCalled(
        number=call.number,
        dialect=call.dialect,
        model=cassette.clean(call.model),
        source=call.source,
        status=call.status,
        usage=call.usage,
        seconds=call.seconds,
        error=None if call.error is None else cassette.clean(call.error),
        stop=stop,
    )


def _keep_response(cassette: Cassette, tape: Tape) -> Body | None:
    if tape.reel is not None:
        return tape.reel.keep(tape.content_type)
    if not tape.chunks:
        return None
    text = tape.body.decode("utf-8", "replace")
    try:
        document: Any = json.loads(text)
        if isinstance(document, list):
            sse.scrub_array(document, tape.request.dialect.deltas, cassette.clean)
        return cassette.keep_json(document, tape.content_type)
    except (ValueError, RecursionError):
        return cassette.keep_text(text, tape.content_type)
