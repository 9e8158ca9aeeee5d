"""What a provider behind the translation does wrong reaches the agent with the provider's status and words, in the
agent's API, and is never taken for an answer."""

import json
from typing import Any

import httpx
import pytest

from runbook_runner.gateway import provider_from
from runbook_runner.gateway.cassette.answers import read_answer

pytestmark = pytest.mark.needs("litellm")

KEY = "sk-test-canary-8f3a71c9d2"
DIALECTS = ("anthropic", "openai-responses", "openai-chat", "gemini")
NATIVE = {
    "anthropic": ("anthropic",),
    "openai": ("openai-responses", "openai-chat", "gemini"),  # for Gemini's clients litellm asks it as lm_studio
    "google": ("gemini",),
    "lm_studio": ("openai-chat",),
}
PAIRS = [(provider, dialect) for provider in NATIVE for dialect in DIALECTS if dialect not in NATIVE[provider]]
TRANSLATED = pytest.mark.parametrize(("name", "dialect"), PAIRS)


def events(*data: dict[str, Any]) -> bytes:
    """`type` is the name of the event, too, as in the APIs that have names."""
    named = (f"event: {item['type']}\n" if "type" in item else "" for item in data)
    return "".join(f"{name}data: {json.dumps(item)}\n\n" for name, item in zip(named, data, strict=True)).encode()


def chat(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "choices": [choice], **more}


def gemini(text: str, **more: Any) -> dict[str, Any]:
    content = {"role": "model", "parts": [{"text": text}]}
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 2, "totalTokenCount": 12}
    return {"candidates": [{"content": content, "index": 0, **more}], "usageMetadata": usage}


RESPONSE = {"id": "r", "object": "response", "created_at": 1, "model": "gpt-5", "output": []}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None}
SAID = {
    "anthropic": [
        {"type": "message_start", "message": {**MESSAGE, "usage": {"input_tokens": 11, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
    ],
    "openai": [
        {"type": "response.created", "response": {**RESPONSE, "status": "in_progress"}},
        {"type": "response.output_item.added", "output_index": 0,
         "item": {"id": "m1", "type": "message", "status": "in_progress", "role": "assistant", "content": []}},
        {"type": "response.content_part.added", "item_id": "m1", "output_index": 0, "content_index": 0,
         "part": {"type": "output_text", "text": "", "annotations": []}},
        {"type": "response.output_text.delta", "item_id": "m1", "output_index": 0, "content_index": 0, "delta": "hi"},
    ],
    "google": [gemini("hi")],
    "lm_studio": [chat({"role": "assistant", "content": "hi"})],
}  # fmt: skip
"""How the answer of each provider begins."""
FAILED = {
    "anthropic": {"type": "error", "error": {"type": "overloaded_error", "message": "No room."}},
    "openai": {"type": "response.failed", "response": {**RESPONSE, "status": "failed",
               "error": {"code": "server_is_overloaded", "message": "No room."}}},
    "google": {"error": {"code": 503, "message": "No room.", "status": "UNAVAILABLE"}},
    "lm_studio": {"error": {"code": 503, "message": "No room."}},
}  # fmt: skip
"""How each reports a failure in a stream."""


def last_event(response: httpx.Response) -> dict[str, Any]:
    *_, last = (line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: "))
    found: dict[str, Any] = json.loads(last)
    return found


@TRANSLATED
def test_a_redirect_takes_neither_key_nor_prompt_along(provider: Any, translated: Any, name: str, dialect: str) -> None:
    stranger = provider({})
    fake = provider({}, 307, {"location": f"http://localhost:{stranger.server.server_port}/elsewhere"})
    line = translated(name, fake, dialect)
    answer = line.go()
    assert (answer.status_code, "it redirects (HTTP 307)" in answer.text) == (502, True), answer.text
    assert line.session.failure.kind == "network", "who asks again gets the same"
    assert (len(fake.requests), stranger.requests) == (1, [])


@TRANSLATED
def test_a_refusal_keeps_its_status_its_words_and_when_to_come_back(
    provider: Any, translated: Any, name: str, dialect: str
) -> None:
    fake = provider({"error": {"message": "No more today.", "code": 429, "type": "x"}}, 429, {"retry-after": "0"})
    line = translated(name, fake, dialect)
    answer = line.go()
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "0"), answer.text
    assert answer.json()["error"]["message"] == "No more today."
    assert (line.events[-1].status, line.events[-1].error, len(fake.requests)) == (429, "No more today.", 1)


@TRANSLATED
@pytest.mark.parametrize("spent", [True, False])
def test_a_spent_quota_is_final(provider: Any, translated: Any, name: str, dialect: str, spent: bool) -> None:
    code = "insufficient_quota" if spent else "rate_limit_exceeded"
    line = translated(name, provider({"error": {"message": "No more.", "code": code}}, 429), dialect)
    assert line.go().status_code == 429
    assert (line.session.failure and line.session.failure.kind) == ("billing" if spent else None)


@TRANSLATED
def test_a_stream_that_begins_with_an_error_is_a_refusal(
    provider: Any, translated: Any, name: str, dialect: str
) -> None:
    answer = translated(name, provider(events(FAILED[name])), dialect).go()
    assert answer.status_code in (502, 503, 529)
    assert answer.json()["error"]["message"] == "No room."


def test_a_proxy_that_only_other_programs_can_use_breaks_no_translation(
    provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What litellm asks without asyncio goes where the calls go: loopback directly."""
    from runbook_runner.gateway.providers.translation.wire import WireOfThreads

    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with httpx.Client(transport=WireOfThreads()) as client:
        assert client.post(provider({"a": 1}).url, json={}).json() == {"a": 1}


@TRANSLATED
def test_a_failure_in_mid_stream_is_told_in_the_agents_api(
    provider: Any, translated: Any, name: str, dialect: str
) -> None:
    line = translated(name, provider(events(*SAID[name], FAILED[name])), dialect)
    answer = line.go()
    assert '"hi"' in answer.text
    last = last_event(answer)
    assert last.get("response", last)["error"]["message"] == "No room."
    assert last.get("type") == {"anthropic": "error", "openai-responses": "response.failed"}.get(dialect)
    assert (line.events[-1].status, line.events[-1].error) == (200, "No room.")


@TRANSLATED
def test_a_stream_that_is_cut_off_is_not_an_answer(provider: Any, translated: Any, name: str, dialect: str) -> None:
    line = translated(name, provider(events(*SAID[name])), dialect)
    with pytest.raises(httpx.RemoteProtocolError):
        line.go()
    line.settled()
    assert (line.events[-1].status, "the stream ended before the answer did" in line.events[-1].error) == (0, True)


def test_comments_and_other_forms_of_a_stream_lose_nothing(provider: Any, translated: Any) -> None:
    call = {"functionCall": {"name": "run", "args": {"n": 1}}}
    last = {"candidates": [{"content": {"role": "model", "parts": [call]}, "index": 0, "finishReason": "STOP"}]}
    forms = (
        b": keep-alive\n\n".join([b"", events(gemini("hi")), events(last)]),
        b"\xef\xbb\xbf" + events(gemini("hi"), last).replace(b"\n", b"\r"),
        b"".join(f"data: {line}\n".encode() for line in json.dumps(gemini("hi"), indent=1).splitlines())
        + b"\n" + events(last)[:-2],
    )  # fmt: skip
    for form in forms:
        said = read_answer("anthropic", translated("google", provider(form), "anthropic").go().text)
        assert (said.text, said.calls) == ("hi", (("run", {"n": 1}),)), form


def test_what_was_used_is_what_the_provider_says(provider: Any, translated: Any) -> None:
    """litellm counts the tokens itself where the provider tells none."""
    used = {"prompt_tokens": 26, "completion_tokens": 12, "total_tokens": 38}
    end = chat({}, "stop"), b"data: [DONE]\n\n"
    for told, tokens in (({"choices": [], "usage": used}, (26, 12)), ({"choices": []}, (0, 0))):
        line = translated("lm_studio", provider(events(*SAID["lm_studio"], end[0], told) + end[1]), "gemini")
        assert line.go().status_code == 200
        usage = line.events[-1].usage
        assert (usage.prompt_tokens, usage.completion_tokens, usage.api_calls) == (*tokens, 1)


@pytest.mark.parametrize("dialect", ["anthropic", "openai-responses", "openai-chat"])
def test_an_answer_that_quotes_the_key_gives_it_to_nobody(provider: Any, translated: Any, dialect: str) -> None:
    whole = gemini(f"your key is {KEY}", finishReason="STOP")
    assert KEY not in translated("google", provider(events(whole)), dialect).go().text
    answer = translated("google", provider(whole), dialect).go(stream=False)
    assert (answer.status_code, KEY in answer.text, "your key is" in answer.text) == (200, False, True)


@pytest.mark.parametrize(("name", "header"), [("google", "x-goog-api-key"), ("lm_studio", "authorization")])
def test_a_password_in_the_address_does_not_take_the_place_of_the_key(
    provider: Any, translated: Any, name: str, header: str
) -> None:
    fake = provider({"error": {"message": "enough"}}, 400)
    fake.url = fake.url.replace("http://", "http://user:hunter2@")
    assert translated(name, fake, "anthropic").go().status_code == 400
    ((_, _, headers),) = fake.requests
    assert (headers[header].removeprefix("Bearer "), "Basic" in str(headers)) == (KEY, False)


def test_a_stream_of_openai_reaches_claude_code_to_its_end(provider: Any, translated: Any) -> None:
    item = {"id": "m1", "type": "message", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": "hi", "annotations": []}]}  # fmt: skip
    usage = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
    done = {"type": "response.completed", "response": {**RESPONSE, "status": "completed", "output": [item],
                                                       "usage": usage}}  # fmt: skip
    answer = translated("openai", provider(events(*SAID["openai"], done)), "anthropic").go()
    assert last_event(answer) == {"type": "message_stop"}


@pytest.mark.parametrize("name", ["xinference", "custom_openai"])
def test_a_provider_without_an_address_is_not_taken_for_openai(connect: Any, name: str) -> None:
    line = connect(provider_from(name, {}, model="m", dialect="openai-chat"))
    answer = line.post("/v1/chat/completions", model="m", messages=[{"role": "user", "content": "go"}])
    message = f"no answer from {name} at api.openai.com: litellm knows no address of it and would ask openai"
    assert (answer.status_code, message in answer.text) == (502, True), answer.text
