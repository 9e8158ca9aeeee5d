"""Kinds of failure, told from what CLIs and providers say, and which of them are worth another start."""

import time

import pytest

from runbook_runner.agents.failures import (
    KINDS,
    MAX_DELAY_S,
    MIN_DELAY_S,
    classify,
    of_gateway,
    plain_reason,
    retry_delay,
)


@pytest.mark.parametrize(("text", "status", "kind"), [
    ("Not logged in · Please run /login", None, "authentication"),
    ("Invalid API key · Fix external API key", 401, "authentication"),
    ("API key not valid. Please pass a valid API key.", 400, "authentication"),
    ("Your account does not have permission", 403, "authentication"),
    ("This request would exceed your organization's rate limit of 40,000 input tokens per minute", 429, "rate_limit"),
    ("exceeded retry limit, last status: 429 Too Many Requests", None, "rate_limit"),
    ("the provider says no", 429, "rate_limit"),
    ("Claude AI usage limit reached|1760000000", 429, "usage_limit"),
    ("You exceeded your current quota, please check your plan and billing details.", 429, "usage_limit"),
    ("Your credit balance is too low to access the Anthropic API.", 400, "usage_limit"),
    ("Overloaded", 529, "overloaded"),
    ("The model is overloaded. Please try again later.", 503, "overloaded"),
    ("prompt is too long: 214000 tokens > 200000 maximum", 400, "context_exceeded"),
    ("This model's maximum context length is 128000 tokens.", 400, "context_exceeded"),
    ("The input token count (1200000) exceeds the maximum number allowed (1048576).", 400, "context_exceeded"),
    ("API Error: Claude's response exceeded the 32000 output token maximum.", None, "output_limit"),
    ("model: claude-nope was not found", 404, "model_not_found"),
    ("models/gemini-9 is not found for API version v1beta", 404, "model_not_found"),
    ("The model `gpt-9` does not exist or you do not have access to it.", 404, "model_not_found"),
    ("Output blocked by content filtering policy", 400, "refusal"),
    ("Unable to connect. Is the computer able to access the url?", None, "network"),
    ("connect ECONNREFUSED 127.0.0.1:1", None, "network"),
    ("stream disconnected before completion", None, "network"),
    ("the provider says no", 500, "provider_error"),
    ("tools.0.name: too long", 400, "request_refused"),
    ('{"error": {"message": "bad tool", "type": "invalid_request_error"}}', None, "request_refused"),
    ('{"error": {"message": "no", "type": "invalid_request_error", "code": "invalid_api_key"}}', 401, "authentication"),
])  # fmt: skip
def test_an_error_is_told_by_its_words_and_then_by_its_status(text: str, status: int | None, kind: str) -> None:
    assert classify(text, status) == kind


def test_words_that_say_nothing_have_no_kind() -> None:
    assert classify("the results are on the table", None) is None
    assert classify("", 200) is None


def test_of_an_error_of_many_megabytes_the_beginning_is_searched() -> None:
    began = time.process_time()
    assert classify("429 Too Many Requests: " + "model " * 5_000_000) == "rate_limit"
    assert time.process_time() - began < 5


def test_an_agents_own_patterns_go_first() -> None:
    assert classify("429: drained", 429, [("drained", "usage_limit")]) == "usage_limit"


def test_the_gateways_words_are_ours() -> None:
    assert [of_gateway(kind) for kind in ("billing", "permission", "not_found", "script")] == [
        "usage_limit", "authentication", "model_not_found", "script",
    ]  # fmt: skip


def test_what_passes_is_tried_again_and_what_stays_is_not() -> None:
    again = {kind for kind in KINDS if retry_delay(kind, 0) is not None}
    assert again == {"rate_limit", "overloaded", "network", "provider_error", "crashed", "stalled"}
    assert retry_delay(None, 0) is None
    assert retry_delay("something_new", 0) is None
    assert retry_delay("rate_limit", KINDS["rate_limit"].retries) is None


def test_waits_grow_with_jitter_between_a_second_and_a_minute() -> None:
    delays = [[retry_delay("overloaded", retry) or 0 for _ in range(200)] for retry in (0, 1)]
    assert all(MIN_DELAY_S <= delay <= MAX_DELAY_S for some in delays for delay in some)
    assert sum(delays[1]) > 1.5 * sum(delays[0])
    assert len(set(delays[0])) > 100


@pytest.mark.parametrize(("text", "reason"), [
    ('{"error": {"message": "no", "type": "x"}}', "no"),
    ('[API Error: {"error":{"code":401,"message":"no","status":"UNAUTHENTICATED"}}]', "no"),
    ('{"error": "plain"}', "plain"),
    ('{"a": 1}', '{"a": 1}'),
    ("no } braces {", "no } braces {"),
    ("{" * 2000 + "}" * 2000, "{" * 2000 + "}" * 2000),
    (" just words ", "just words"),
])  # fmt: skip
def test_a_reason_is_told_without_the_json_around_it(text: str, reason: str) -> None:
    assert plain_reason(text) == reason
