"""What every provider API must do for the gateway; each new dialect is held to the same."""

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.core.events import Stop, Usage
from runbook_runner.core.redaction import Redactor
from runbook_runner.gateway import Cassette
from runbook_runner.gateway.cassette.stream import RecordedStream
from runbook_runner.gateway.dialects import DIALECTS, recognise, sse
from runbook_runner.gateway.dialects.base import Dialect, ParsedRequest, ParsedResponse, Reply, Tool, ToolCall

USAGE = Usage(
    prompt_tokens=10, completion_tokens=4, cache_read_tokens=3, cache_write_tokens=2, reasoning_tokens=1, api_calls=1
)
TEXT = 'Grüße \u2028 "quoted"\n' * 3
TOOL = Tool("Bash", {})
CALLS = (ToolCall("1", TOOL, {"command": "echo 'ü'"}), ToolCall("2", TOOL, {"command": "date"}))
REPLY = Reply("id_1", "Let me think.", TEXT, CALLS, USAGE)
PLAIN, STREAM = (ParsedRequest("model-1", stream, (TOOL,), {}) for stream in (False, True))

GENERATE = {
    "anthropic": "/v1/messages",
    "openai-responses": "/v1/responses",
    "openai-chat": "/v1/chat/completions",
    "gemini": "/v1beta/models/model-1:generateContent",
}


def told(dialect: Dialect) -> Usage:
    """Gemini does not say what was written to a cache: it is a part of the prompt."""
    return (
        USAGE.model_copy(update={"prompt_tokens": 12, "cache_write_tokens": 0}) if dialect.name == "gemini" else USAGE
    )


def read(dialect: Dialect, stream: bool, body: bytes) -> ParsedResponse:
    if not stream:
        return dialect.parse_response(body)
    stream = RecordedStream(dialect, Cassette(Path("nowhere"), Redactor({}), "none"))
    stream.add(body)
    stream.end()
    return stream.parsed


every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


@every_dialect
@pytest.mark.parametrize("ask", [PLAIN, STREAM], ids=["plain", "stream"])
def test_scripted_answer_reads_back_with_its_tokens(dialect: Dialect, ask: ParsedRequest) -> None:
    reading = read(dialect, ask.stream, b"".join(dialect.render(REPLY, ask)))
    assert reading.usage == told(dialect)
    assert reading.complete
    assert reading.error is None


@every_dialect
@pytest.mark.parametrize("ask", [PLAIN, STREAM], ids=["plain", "stream"])
@pytest.mark.parametrize("stop", ["length", "refusal"])
def test_answer_that_is_not_a_whole_one_says_why(dialect: Dialect, ask: ParsedRequest, stop: Stop) -> None:
    reading = read(dialect, ask.stream, b"".join(dialect.render(replace(REPLY, stop=stop), ask)))
    assert (reading.stop, reading.complete, reading.error) == (stop, True, None)
    assert reading.usage == told(dialect)
    assert read(dialect, ask.stream, b"".join(dialect.render(REPLY, ask))).stop is None


@pytest.mark.parametrize(("path", "body"), [
    ("/v1/chat/completions", {"choices": [{"message": {"refusal": "No."}, "finish_reason": "stop"}]}),
    ("/v1/responses", {"output": [{"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}]}),
    ("/v1beta/models/m:generateContent", {"promptFeedback": {"blockReason": "SAFETY"}}),
    ("/v1/messages", {"type": "message", "stop_reason": "refusal", "content": []}),
])  # fmt: skip
def test_every_way_an_api_has_to_refuse_is_a_refusal(path: str, body: dict[str, Any]) -> None:
    assert read(recognise("POST", path)[0], False, json.dumps(body).encode()).stop == "refusal"


@every_dialect
def test_stream_without_its_last_event_is_not_complete(dialect: Dialect) -> None:
    reading = read(dialect, True, b"".join(dialect.render(REPLY, STREAM)[:-1]))
    assert not reading.complete


@every_dialect
def test_streamed_texts_are_the_sums_of_their_deltas(dialect: Dialect) -> None:
    stream = b"".join(dialect.render(REPLY, STREAM)).decode()
    texts: dict[str, str] = defaultdict(str)
    for event in sse.objects(stream):
        for piece in dialect.deltas(event):
            texts[piece.channel] += piece.holder[piece.key]
    assert TEXT in texts.values()
    assert "Let me think." in texts.values()


@every_dialect
@pytest.mark.parametrize("ask", [PLAIN, STREAM], ids=["plain", "stream"])
def test_answer_holds_every_part_in_order(dialect: Dialect, ask: ParsedRequest) -> None:
    body = b"".join(dialect.render(REPLY, ask)).decode()
    prefix = "toolu_" if dialect.name == "anthropic" else "call_"
    parts = ["Let me think.", json.dumps(TEXT)[1:-1], f"{prefix}1", f"{prefix}2"]
    places = [body.find(part) for part in parts]
    assert -1 not in places
    assert places == sorted(places) or not ask.stream


@every_dialect
@pytest.mark.parametrize("ask", [PLAIN, STREAM], ids=["plain", "stream"])
def test_silent_turn_is_an_answer_all_the_same(dialect: Dialect, ask: ParsedRequest) -> None:
    reply = Reply("id_1", None, None, (), USAGE)
    reading = read(dialect, ask.stream, b"".join(dialect.render(reply, ask)))
    assert (reading.complete, reading.error, reading.usage.api_calls) == (True, None, 1)


@every_dialect
def test_secret_in_pieces_is_scrubbed_from_a_stream(dialect: Dialect) -> None:
    """Each event is sent twice, so that no single one holds the whole text."""
    reply = Reply("id_1", None, "HALF", (), USAGE)
    events = dialect.render(reply, STREAM)
    piece = next(event for event in events if b"HALF" in event)
    stream = b"".join([piece, piece.replace(b"HALF", b"SECRET")]).decode()
    scrubbed = sse.scrub(stream, dialect.deltas, lambda text: text.replace("HALFSECRET", "***"))
    assert "SECRET" not in scrubbed
    assert scrubbed.count("***") == 1
    assert len(list(sse.objects(scrubbed))) == 2


@pytest.mark.parametrize(("dialect", "first", "second"), [
    ("openai-chat", {"reasoning_details": [{"text": "HALF"}]}, {"reasoning_details": [{"text": "SECRET"}]}),
    ("openai-chat", {"content": [{"type": "text", "text": "HALF"}]}, {"content": [{"type": "text", "text": "SECRET"}]}),
    ("openai-chat", {"tool_calls": [{"index": 0, "custom": {"input": "HALF"}}]},
     {"tool_calls": [{"index": 0, "custom": {"input": "SECRET"}}]}),
    ("gemini", "HALF", "SECRET"),
])  # fmt: skip
def test_secret_in_pieces_is_found_wherever_servers_put_text(dialect: str, first: Any, second: Any) -> None:
    """Gemini's as the elements of one JSON array."""
    (api,) = (known for known in DIALECTS if known.name == dialect)
    clean = lambda text: text.replace("HALFSECRET", "***")  # noqa: E731
    if dialect == "gemini":
        events = [{"candidates": [{"content": {"parts": [{"text": text}]}}]} for text in (first, second)]
        sse.scrub_array(events, api.deltas, clean)
        scrubbed = json.dumps(events)
    else:
        stream = b"".join(sse.data({"choices": [{"index": 0, "delta": delta}]}) for delta in (first, second)).decode()
        scrubbed = sse.scrub(stream, api.deltas, clean)
    assert "SECRET" not in scrubbed
    assert scrubbed.count("***") == 1


@every_dialect
@pytest.mark.parametrize("status", [400, 401, 404, 413, 429, 500, 502, 529])
def test_error_answer_reads_back_with_its_message(dialect: Dialect, status: int) -> None:
    reading = read(dialect, False, json.dumps(dialect.error(status, "what happened")).encode())
    assert reading.error == "what happened"
    assert reading.usage == Usage()


@every_dialect
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1]",
        b"null",
        b"\xff",
        b'{"usage": 5, "type": "message"}',
        b"data: x\n\n",
        b'data: {"choices": [1], "candidates": [1, {"content": 5}], "usage": [], "delta": 7, "type": 1}\n\n',
        b'{"choices": 5, "usage": {"prompt_tokens": "x"}, "usageMetadata": [], "candidates": {}}',
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_garbage_from_a_provider_has_no_tokens(dialect: Dialect, stream: bool, body: bytes) -> None:
    reading = read(dialect, stream, body)
    assert reading.usage.total_tokens == 0
    assert reading.error is None


@every_dialect
@pytest.mark.parametrize("body", [{}, {"tools": [None, {"name": []}], "model": ["x"], "stream": "yes"}])
def test_strange_request_asks_for_a_plain_answer(dialect: Dialect, body: dict[str, Any]) -> None:
    ask = dialect.parse_request(GENERATE[dialect.name], body)
    assert not ask.stream
    assert ask.tools == ()


@every_dialect
def test_path_is_recognised(dialect: Dialect) -> None:
    path = GENERATE[dialect.name]
    assert recognise("POST", path) == (dialect, "generate")
    assert recognise("GET", path)[1] is None
    assert recognise("POST", path + "/x")[1] is None


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
    usage = read(recognise("POST", "/v1/messages")[0], True, stream).usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cache_read_tokens, usage.api_calls) == (9, 60, 7, 1)
