"""Gateway: writes a finished model call to the cassette and emits its event."""

import json
from typing import Any

from runbook_runner.core.events import ModelCalled, Stop
from runbook_runner.gateway.cassette.cassette import Body, Cassette, RecordedCall
from runbook_runner.gateway.dialects import sse
from runbook_runner.gateway.serve.call import ModelCall, Outcome
from runbook_runner.gateway.serve.session import Session


def record(session: Session, call: ModelCall, outcome: Outcome) -> None:
    """Cassette first, then the event, so that an announced call can be looked up. Raises RecordingError."""
    recorded = _recorded(session, call, outcome)
    session.cassette.append(recorded)
    session.emit(_event(session.cassette, recorded, outcome.stop))
    if call.divergence is not None:
        session.emit(call.divergence.model_copy(update={"number": call.number}))


def _recorded(session: Session, call: ModelCall, outcome: Outcome) -> RecordedCall:
    request, cassette = call.request, session.cassette
    return RecordedCall(
        number=call.number,
        ts=call.ts,
        dialect=request.dialect.name,
        operation=request.operation,
        path=f"{request.path}?{request.query}" if request.query else request.path,
        model=request.parsed.model,
        source=call.source,
        status=outcome.status,
        seconds=call.seconds,
        ttfb=call.ttfb,
        usage=outcome.usage,
        stream=call.is_stream,
        side=call.side,
        error=outcome.error,
        request_headers=cassette.keep_headers(dict(request.headers)),
        response_headers=cassette.keep_headers(dict(call.headers)),
        request=call.kept_request,
        response=_keep_response(cassette, call),
    )


def _event(cassette: Cassette, recorded: RecordedCall, stop: Stop | None) -> ModelCalled:
    return ModelCalled(
        number=recorded.number,
        dialect=recorded.dialect,
        model=cassette.clean(recorded.model),
        source=recorded.source,
        status=recorded.status,
        usage=recorded.usage,
        seconds=recorded.seconds,
        error=None if recorded.error is None else cassette.clean(recorded.error),
        stop=stop,
    )


def _keep_response(cassette: Cassette, call: ModelCall) -> Body | None:
    if call.event_stream is not None:
        return call.event_stream.keep(call.content_type)
    if not call.chunks:
        return None
    text = call.body.decode("utf-8", "replace")
    try:
        document: Any = json.loads(text)
        if isinstance(document, list):
            sse.scrub_array(document, call.request.dialect.deltas, cassette.clean_said)
        return cassette.keep_json(document, call.content_type)
    except (ValueError, RecursionError):
        return cassette.keep_text(text, call.content_type)
