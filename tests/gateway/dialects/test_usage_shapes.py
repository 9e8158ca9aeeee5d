"""How providers count: the shapes each API's servers really send, and what our figures make of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.core.events import Usage
from runbook_runner.core.redaction import Redactor
from runbook_runner.gateway import Cassette
from runbook_runner.gateway.cassette.stream import RecordedStream
from runbook_runner.gateway.dialects import DIALECTS
from runbook_runner.gateway.dialects.base import ParsedResponse
from runbook_runner.gateway.providers.prices import Prices

ANTHROPIC, RESPONSES, CHAT, GEMINI = DIALECTS


def streamed(dialect: Any, *events: dict[str, Any]) -> ParsedResponse:
    stream = RecordedStream(dialect, Cassette(Path("nowhere"), Redactor({}), "none"))
    for event in events:
        stream.add(b"data: " + json.dumps(event).encode() + b"\n\n")
    stream.end()
    return stream.parsed


def plain(dialect: Any, body: Any) -> ParsedResponse:
    return dialect.parse_response(json.dumps(body).encode())  # type: ignore[no-any-return]


def used(prompt: int = 0, made: int = 0, **more: Any) -> Usage:
    return Usage(prompt_tokens=prompt, completion_tokens=made, **{"api_calls": 1, **more})


# --- Anthropic Messages --------------------------------------------------------------------------------------------

START = {"type": "message_start", "message": {"usage": {"input_tokens": 10, "output_tokens": 1}}}


def end(**usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}


def test_searches_of_the_provider_are_counted_beside_the_tokens_they_brought() -> None:
    reading = streamed(ANTHROPIC, START, {"type": "content_block_start", "index": None}, {"type": "not yet known"},
                       end(input_tokens=400, output_tokens=9, server_tool_use={"web_search_requests": 2}))  # fmt: skip
    assert (reading.usage, reading.searches) == (used(400, 9), 2)


def test_a_summary_made_on_the_way_is_counted_too() -> None:
    """The totals are those of the message alone."""
    spent = [{"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500},
             {"type": "message", "input_tokens": 23_000, "output_tokens": 1_000}]  # fmt: skip
    body = {"type": "message", "usage": {"input_tokens": 23_000, "output_tokens": 1_000, "iterations": spent}}
    assert plain(ANTHROPIC, body).usage == used(203_000, 4_500)
    assert plain(ANTHROPIC, body).tier is None
    late = streamed(ANTHROPIC, {**START, "message": {"usage": {"input_tokens": 23_000}}},
                    end(output_tokens=1_000, iterations=spent))  # fmt: skip
    assert late.usage == used(203_000, 4_500)


def test_another_model_that_was_asked_on_the_way_has_a_price_of_its_own() -> None:
    advice = {"type": "advisor_message", "model": "other", "input_tokens": 50, "output_tokens": 7}
    reading = plain(ANTHROPIC, {"type": "message", "usage": {"input_tokens": 1, "iterations": [advice]}})
    assert (reading.usage, reading.tier) == (used(51, 7), "advisor_message")


# --- OpenAI --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("told", "usage"), [
    ({"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135,
      "completion_tokens_details": {"reasoning_tokens": 94}}, used(32, 103, reasoning_tokens=94)),
    ({"prompt_tokens": 32, "completion_tokens": 103, "total_tokens": 135,
      "completion_tokens_details": {"reasoning_tokens": 94}}, used(32, 103, reasoning_tokens=94)),
    ({"prompt_tokens": 10, "completion_tokens": 4, "cached_tokens": 6}, used(4, 4, cache_read_tokens=6)),
    ({"prompt_tokens": 10, "completion_tokens": 4, "prompt_cache_hit_tokens": 6, "prompt_cache_miss_tokens": 4},
     used(4, 4, cache_read_tokens=6)),
    ({"prompt_tokens": 10.0, "completion_tokens": 4.0}, used(10, 4)),
    ({"prompt_tokens": -5, "completion_tokens": "4"}, used()),
], ids=["beside-the-output", "in-the-output", "moonshot", "deepseek", "floats", "nonsense"])  # fmt: skip
def test_chat_servers_count_in_their_own_ways(told: dict[str, Any], usage: Usage) -> None:
    choice = {"choices": [{"delta": {"content": "hi"}, "message": {"content": "hi"}, "finish_reason": "stop"}]}
    assert plain(CHAT, {**choice, "usage": told}).usage == usage
    assert streamed(CHAT, choice, {"choices": [], "usage": told}).usage == usage
    assert streamed(CHAT, {**choice, "usage": {"prompt_tokens": 1}}, {**choice, "usage": told}).usage == usage


OUTPUT = [{"type": "web_search_call", "action": {"type": "search"}}, {"type": "reasoning", "encrypted_content": "gAA"},
          {"type": "web_search_call", "action": {"type": "open_page"}}, {"type": "message", "content": []}]  # fmt: skip
RESPONSE = {"status": "completed", "output": OUTPUT, "usage": {"input_tokens": 10, "output_tokens": 4}}


@pytest.mark.parametrize("last", ["completed", "incomplete", "done", "cancelled"])
def test_the_last_event_of_a_response_tells_all(last: str) -> None:
    reading = streamed(RESPONSES, {"type": f"response.{last}", "response": RESPONSE})
    assert (reading.usage, reading.complete, reading.error, reading.searches) == (used(10, 4), True, None, 1)


def test_a_response_without_figures_is_an_answer_whose_price_is_not_known() -> None:
    silent = {**RESPONSE, "usage": None}
    assert plain(RESPONSES, silent).usage == used()
    assert streamed(RESPONSES, {"type": "response.completed", "response": silent}).usage == used()


@pytest.mark.parametrize("last", [
    {"type": "error", "message": "boom"},
    {"type": "response.failed", "response": {"error": {"message": "boom"}, "usage": None, "output": []}},
])  # fmt: skip
def test_an_answer_that_failed_on_its_way_was_an_answer(last: dict[str, Any]) -> None:
    reading = streamed(RESPONSES, {"type": "response.output_item.added", "item": {}}, last)
    assert (reading.usage, reading.error, reading.complete) == (used(), "boom", True)
    assert streamed(RESPONSES, last).usage == Usage(), "nothing had been said"


# --- Gemini --------------------------------------------------------------------------------------------------------

TOTAL = {"promptTokenCount": 10, "candidatesTokenCount": 4, "thoughtsTokenCount": 2}


def chunk(told: Any = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    candidate = {"content": {"parts": [{"text": "hi", "thoughtSignature": "c2ln"}]}, "finishReason": finish, **more}
    return {"candidates": [candidate], **({"usageMetadata": told} if told is not None else {})}


@pytest.mark.parametrize("events", [
    [chunk({"promptTokenCount": 10}), chunk(TOTAL, "STOP")],
    [chunk({"promptTokenCount": 10}), chunk(finish="STOP"), {"usageMetadata": TOTAL}],
    [chunk(TOTAL), chunk({"trafficType": "ON_DEMAND"}, "STOP")],
    [chunk({"promptTokenCount": 10, "candidatesTokenCount": 1}, "STOP"), chunk(TOTAL, "STOP")],
], ids=["last", "alone", "traffic", "each"])  # fmt: skip
def test_the_figures_of_gemini_come_in_any_chunk(events: list[dict[str, Any]]) -> None:
    reading = streamed(GEMINI, *events)
    assert (reading.usage, reading.complete) == (used(10, 6, reasoning_tokens=2), True)
    assert plain(GEMINI, events).usage == reading.usage, "the same as one JSON array"


def test_a_blocked_prompt_was_read_and_costs_what_it_says() -> None:
    feedback = {"promptFeedback": {"blockReason": "OTHER"}, "usageMetadata": {"promptTokenCount": 10}}
    assert (plain(GEMINI, feedback).usage, plain(GEMINI, feedback).stop) == (used(10), "refusal")
    assert streamed(GEMINI, chunk(TOTAL, "IMAGE_SAFETY")).stop == "refusal"


def test_grounded_answers_tell_their_searches() -> None:
    grounded = chunk(TOTAL, "STOP", groundingMetadata={"webSearchQueries": ["a", "b"]})
    assert streamed(GEMINI, grounded, {"usageMetadata": TOTAL}).searches == 2


# --- all -----------------------------------------------------------------------------------------------------------

FIGURES: tuple[tuple[Any, str, str, dict[str, Any]], ...] = (
    (ANTHROPIC, "anthropic", "claude-sonnet-4-6", {
        "type": "message",
        "usage": {"input_tokens": 7, "output_tokens": 7, "output_tokens_details": {"thinking_tokens": 7}, "cost": 7,
                  "server_tool_use": {"web_search_requests": 7}, "cache_creation_input_tokens": 7},
    }),
    (RESPONSES, "openai", "gpt-5.5", {
        "output": [{}], "usage": {"input_tokens": 7, "output_tokens": 7, "cost": 7, "total_tokens": 7},
    }),
    (CHAT, "openai", "gpt-5.5", {
        "choices": [{}], "usage": {"prompt_tokens": 7, "completion_tokens": 7, "cached_tokens": 7, "cost": 7},
    }),
    (GEMINI, "google", "gemini-2.5-pro", chunk({**TOTAL, "candidatesTokenCount": 7, "promptTokenCount": 7}, "STOP")),
)  # fmt: skip


@pytest.mark.parametrize(("dialect", "provider", "model", "body"), FIGURES, ids=lambda it: getattr(it, "name", ""))
@pytest.mark.parametrize("number", ["9" * 4300, "-" + "9" * 310, "1e308", "1e400", "NaN"])
def test_a_figure_of_any_size_has_a_price_and_can_be_written(
    dialect: Any, provider: str, model: str, body: dict[str, Any], number: str
) -> None:
    """Python makes no float of a larger integer than 1e308, and writes none of more than 4300 digits."""
    reading = dialect.parse_response(json.dumps(body).replace(": 7", f": {number}").encode())
    price = Prices().cost(provider, model, reading)
    assert price is None or 0 <= price < 1e18
    json.dumps([price, (reading.usage + reading.usage).model_dump()], allow_nan=False)
