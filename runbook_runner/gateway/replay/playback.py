"""Gateway: plays a recorded answer."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from runbook_runner.gateway.cassette.cassette import RecordedCall
from runbook_runner.gateway.cassette.dedup import compact
from runbook_runner.gateway.dialects import sse
from runbook_runner.gateway.dialects.base import Dialect
from runbook_runner.gateway.upstream import Answer, ModelRequest, UpstreamBroke

Translate = Callable[[str], str]

_BYTES_PER_TOKEN: Final = 4
_KEPT_BY_BODY: Final = "content-type"


@dataclass(frozen=True)
class Recorded:
    """A recorded call to play."""

    call: RecordedCall
    response: Any
    """As `Exchange.response`, or an iterator of a text's bytes."""


def playback(recorded: Recorded, dialect: Dialect, to_local: Translate) -> Answer:
    """to_local: see `Replay`. A recorded connection that broke breaks at the same place."""
    call = recorded.call
    kind = call.response.content_type if call.response else "application/json"
    others = tuple((name, value) for name, value in call.response_headers.items() if name != _KEPT_BY_BODY)
    return Answer(
        call.status or 200,
        ((_KEPT_BY_BODY, kind), *others),
        _body(recorded, dialect, to_local),
        side=call.side,
        error=call.error if call.status >= 400 else None,
        cost_usd=call.usage.cost_usd,
        source="replay",
    )


def estimate(request: ModelRequest) -> Answer:
    """Returns an estimated count of tokens, for a question that was not recorded; agents decide nothing by it."""
    count = json.dumps(request.dialect.token_count(len(request.body) // _BYTES_PER_TOKEN)).encode()
    return Answer(200, ((_KEPT_BY_BODY, "application/json"),), _each([count]), source="replay")


def translated(value: Any, translate: Translate) -> Any:
    """Returns the JSON value with every string translated, keys excepted."""
    if isinstance(value, str):
        return translate(value)
    if isinstance(value, dict):
        return {key: translated(item, translate) for key, item in value.items()}
    return [translated(item, translate) for item in value] if isinstance(value, list) else value


async def _body(recorded: Recorded, dialect: Dialect, to_local: Translate) -> AsyncIterator[bytes]:
    for chunk in _chunks(recorded, dialect, to_local):
        yield chunk
    if recorded.call.status == 0:
        raise UpstreamBroke((recorded.call.error or "").rpartition(" broke off: ")[2])


def _chunks(recorded: Recorded, dialect: Dialect, to_local: Translate) -> Iterator[bytes]:
    body, response = recorded.call.response, recorded.response
    if body is None:
        return
    if body.kind == "json":
        yield compact(translated(response, to_local)).encode()
        return
    if isinstance(response, str):
        text = sse.scrub(response, dialect.deltas, to_local) if recorded.call.stream else to_local(response)
        yield text.encode("utf-8", "surrogatepass")
    else:
        yield from response


async def _each(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
