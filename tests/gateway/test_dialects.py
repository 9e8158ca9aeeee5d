"""What every provider API must do for the gateway; each new dialect is held to the same."""

import json
from typing import Any

import pytest

from runbook_runner.events import Usage
from runbook_runner.gateway import sse
from runbook_runner.gateway.dialects import DIALECTS, recognise
from runbook_runner.gateway.dialects.base import Call, Dialect, Reply

USAGE = Usage(prompt_tokens=10, completion_tokens=4, cache_read_tokens=3, cache_write_tokens=2)
TEXT = 'Grüße \u2028 "quoted"\n' * 3
REPLY = Reply("id_1", "model-1", TEXT, Call("call_1", "Bash", {"command": "echo 'ü'"}), USAGE)

every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


@every_dialect
@pytest.mark.parametrize("stream", [False, True])
def test_scripted_answer_reads_back_with_its_tokens(dialect: Dialect, stream: bool) -> None:
    reading = dialect.reading(stream, b"".join(dialect.render(REPLY, stream)))
    assert reading.usage == USAGE.model_copy(update={"api_calls": 1})
    assert reading.complete
    assert reading.error is None


@every_dialect
def test_stream_without_its_last_event_is_not_complete(dialect: Dialect) -> None:
    reading = dialect.reading(True, b"".join(dialect.render(REPLY, True)[:-1]))
    assert not reading.complete


@every_dialect
def test_streamed_text_is_the_sum_of_its_deltas(dialect: Dialect) -> None:
    stream = b"".join(dialect.render(REPLY, True)).decode()
    pieces = [piece for event in sse.objects(stream) if (piece := dialect.delta(event))]
    first = [piece for piece in pieces if piece.channel == pieces[0].channel]
    assert "".join(piece.holder[piece.key] for piece in first) == TEXT


@every_dialect
@pytest.mark.parametrize("status", [400, 401, 404, 413, 429, 500, 502, 529])
def test_error_answer_reads_back_with_its_message(dialect: Dialect, status: int) -> None:
    reading = dialect.reading(False, json.dumps(dialect.error(status, "what happened")).encode())
    assert reading.error == "what happened"
    assert reading.usage == Usage()


@every_dialect
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1]", b"null", b"\xff", b'{"usage": 5, "type": "message"}', b"data: x\n\n"]
)
@pytest.mark.parametrize("stream", [False, True])
def test_garbage_from_a_provider_has_no_tokens(dialect: Dialect, stream: bool, body: bytes) -> None:
    reading = dialect.reading(stream, body)
    assert reading.usage.total_tokens == 0
    assert reading.error is None


@every_dialect
@pytest.mark.parametrize("body", [{}, {"tools": [None, {"name": []}], "model": ["x"], "stream": "yes"}])
def test_strange_request_asks_for_a_plain_answer(dialect: Dialect, body: dict[str, Any]) -> None:
    ask = dialect.ask("/", body)
    assert not ask.stream
    assert ask.tools == ()


def test_unknown_path_belongs_to_no_dialect() -> None:
    assert recognise("POST", "/v2/anything")[1] is None
    assert recognise("GET", "/v1/messages")[1] is None
    dialect, operation = recognise("POST", "/v1/messages/count_tokens")
    assert (dialect.name, operation) == ("anthropic", "count_tokens")


def test_anthropic_stream_totals_replace_the_first_guess() -> None:
    stream = (
        b'data: {"type":"message_start","message":{"usage":{"input_tokens":9,"output_tokens":1}}}\r\n\r\n'
        b'data: {"type":"message_delta","usage":{"input_tokens":null,"cache_read_input_tokens":7}}\n\n'
        b'data: {"type":"message_delta","usage":{"output_tokens":60}}\n\n'
        b'data: {"type":"message_stop"}\n\n'
    )
    usage = recognise("POST", "/v1/messages")[0].reading(True, stream).usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cache_read_tokens, usage.api_calls) == (9, 60, 7, 1)
