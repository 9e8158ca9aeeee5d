"""What passes between an agent and a real provider, and what does not."""

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.gateway import provider_from
from runbook_runner.gateway.upstream import GatewayFailure

KEYS = {"ANTHROPIC_API_KEY": "sk-a-secret-1", "OPENROUTER_API_KEY": "sk-or-secret-2"}


# --- which provider ------------------------------------------------------------------------------------------------


def test_missing_key_is_named_and_a_script_offered() -> None:
    with pytest.raises(NotReadyError, match=r"ANTHROPIC_API_KEY is not set\.\n.*--model-script FILE"):
        provider_from("anthropic", {})
    with pytest.raises(NotReadyError, match="OPENROUTER_API_KEY is not set"):
        provider_from("openrouter", {"ANTHROPIC_API_KEY": "x", "OPENROUTER_API_KEY": "  "})


def test_unknown_provider_lists_the_known_ones() -> None:
    with pytest.raises(
        InputError, match=r"Unknown provider 'qqqq'\.\nKnown: anthropic, openai, .* providers of litellm"
    ):
        provider_from("qqqq", KEYS)


def test_default_provider_follows_the_keys_there_are() -> None:
    assert provider_from(None, KEYS).name == "openrouter"
    assert provider_from(None, {"ANTHROPIC_API_KEY": "k-123"}).name == "anthropic"


@pytest.mark.parametrize(
    "base", ["https://openrouter.ai/api", "https://openrouter.ai/api/", "https://openrouter.ai/api/v1"]
)
def test_base_url_may_end_with_the_version(base: str) -> None:
    provider = provider_from("openrouter", {**KEYS, "OPENROUTER_BASE_URL": base})
    assert provider.url("/v1/messages", "beta=true") == "https://openrouter.ai/api/v1/messages?beta=true"


def test_openrouter_gets_a_bearer_and_the_applications_name() -> None:
    provider = provider_from("openrouter", {**KEYS, "OPENROUTER_X_TITLE": "Runbooks"})
    headers = dict(provider.headers(()))
    assert headers["authorization"] == "Bearer sk-or-secret-2"
    assert headers["x-title"] == "Runbooks"
    assert "x-api-key" not in headers


def test_anthropic_token_is_sent_as_bearer_when_there_is_no_key() -> None:
    provider = provider_from("anthropic", {"ANTHROPIC_AUTH_TOKEN": "tok-1234"})
    assert ("authorization", "Bearer tok-1234") in provider.headers(())
    assert provider.secret_values() == {"ANTHROPIC_AUTH_TOKEN": "tok-1234"}


def test_key_with_a_line_break_is_refused_without_showing_it() -> None:
    with pytest.raises(NotReadyError) as caught:
        provider_from("anthropic", {"ANTHROPIC_API_KEY": "sk-a\nsecret"})
    assert "secret" not in str(caught.value)


def test_provider_shows_neither_key_nor_password_when_printed() -> None:
    provider = provider_from("anthropic", {**KEYS, "ANTHROPIC_BASE_URL": "https://me:hunter22@proxy.example"})
    assert "secret" not in repr(provider)
    assert "hunter22" not in repr(provider)
    assert provider.host == "proxy.example"


# --- forwarding ----------------------------------------------------------------------------------------------------


def test_request_reaches_the_provider_unchanged_but_for_the_credentials(provided: Any, fake: Any, key: str) -> None:
    body = b'{"model": "m",  "messages": [ {"role":"user","content":"\xc3\xa9"} ]}'
    headers = {"anthropic-beta": "a-1,b-2", "content-type": "application/json", "connection": "keep-alive, x-app"}
    more = {
        "x-app": "1",
        "x-title": f"see {provided.session.token}",
        "cookie": "c=1",
        "x-stainless-lang": "js",
        "user-agent": "Jörg".encode(),
    }
    response = provided.client.post("/v1/messages?beta=true", content=body, headers={**headers, **more})
    assert response.json()["content"][0]["text"] == "hello"
    (sent,) = fake.requests
    got = {name.lower(): value for name, value in sent["headers"].items()}
    assert sent["path"] == "/v1/messages?beta=true"
    assert sent["body"] == body
    assert got["x-api-key"] == key
    assert got["anthropic-beta"] == "a-1,b-2"
    assert got["anthropic-version"] == "2023-06-01"
    assert got["x-stainless-lang"] == "js"
    assert got["user-agent"].encode("latin-1").decode() == "Jörg"
    assert not {"authorization", "cookie", "x-app", "x-title"} & got.keys()
    assert not any(provided.session.token in value for value in got.values())


@pytest.mark.parametrize(
    "header",
    ["Helicone-Target-Url", "X-Portkey-Custom-Host", "x_portkey_custom_host", "cf-aig-x", "X-Forwarded-Host",
     "X-HTTP-Method-Override", "X-Original-URL", "OpenAI-Organization", "X-Goog-User-Project", "Anthropic_x"],
)  # fmt: skip
def test_no_header_of_the_agent_steers_what_stands_before_the_provider(provided: Any, fake: Any, header: str) -> None:
    body = b'{"model": "m", "messages": []}'
    assert (
        provided.client.post("/v1/messages", content=body, headers={header: "https://evil.example"}).status_code == 200
    )
    (sent,) = fake.requests
    assert header.lower() not in {name.lower() for name in sent["headers"]}
    assert "evil.example" not in str(sent["headers"])


def test_tokens_are_read_from_the_providers_answer(provided: Any) -> None:
    provided.ask("a")
    usage = provided.session.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (7, 5)
    assert (usage.cache_read_tokens, usage.cache_write_tokens, usage.api_calls) == (2, 1, 1)
    assert usage.cost_usd is None


def test_counting_tokens_is_forwarded_but_uses_none(provided: Any) -> None:
    counted = provided.post("/v1/messages/count_tokens?beta=true", model="m", messages=[])
    assert counted.json() == {"input_tokens": 1234}
    assert provided.session.usage.api_calls == 0
    assert provided.session.usage.prompt_tokens == 0
    assert provided.cassette.calls()[0].operation == "count_tokens"


@pytest.mark.parametrize(("model", "status"), [("e429", 429), ("e500", 500)])
def test_passing_errors_go_through_unchanged(provided: Any, model: str, status: int) -> None:
    response = provided.ask("a", model=model)
    assert response.status_code == status
    assert response.json()["error"]["message"] == "try later"
    assert response.headers["retry-after"] == "17"
    assert response.headers["request-id"] == "req_up_1"
    assert response.headers["anthropic-ratelimit-requests-remaining"] == "9"
    assert "set-cookie" not in response.headers
    assert provided.session.failure is None
    assert provided.events[0].status == status
    assert provided.events[0].error == "try later"


def test_refused_key_is_the_sessions_failure_and_is_never_quoted(
    provided: Any, key: str, leaks: Callable[[Path, str], list[str]]
) -> None:
    response = provided.ask("a", model="e401")
    assert response.status_code == 401
    assert response.json()["error"] == {
        "type": "authentication_error",
        "message": "no: ***REDACTED:ANTHROPIC_API_KEY***",
    }
    failure = provided.session.failure
    assert failure.kind == "authentication"
    assert "its key is from ANTHROPIC_API_KEY" in failure.message
    assert key not in failure.message
    assert leaks(provided.cassette.folder, key) == []


def test_dropped_connection_is_a_502_in_the_apis_own_words(provided: Any) -> None:
    response = provided.ask("a", model="drop")
    assert response.status_code == 502
    assert response.json()["error"]["type"] == "api_error"
    assert "no answer from anthropic at 127.0.0.1" in response.json()["error"]["message"]
    assert provided.events[0].status == 502
    assert provided.session.failure is None


def test_answer_that_breaks_off_before_anything_was_passed_on_is_a_502(provided: Any) -> None:
    response = provided.ask("a", model="half")
    assert response.status_code == 502
    assert "broke off" in response.json()["error"]["message"]
    assert provided.cassette.read(1).response == response.json()


def test_unreachable_provider_is_a_502_that_names_it_and_the_sessions_failure(
    connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:8")  # loopback never goes through it
    line = connect(
        provider_from("anthropic", {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "ANTHROPIC_API_KEY": "k-1234"})
    )
    response = line.ask("a")
    assert response.status_code == 502
    assert response.json()["error"]["message"] == "no answer from anthropic at 127.0.0.1: Connection refused"
    assert line.session.failure.kind == "network"


def test_a_proxy_that_does_not_answer_is_named_with_its_variable(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://me:secret-word@127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    line = connect(provider_from("anthropic", {"ANTHROPIC_API_KEY": "k-1234"}))
    said = line.ask("a").json()["error"]["message"]
    assert said == (
        "no answer from anthropic at api.anthropic.com: Connection refused by the proxy 127.0.0.1:9, "
        "which HTTP_PROXY or HTTPS_PROXY names"
    )


def test_a_limit_for_days_is_said_with_its_end(provided: Any) -> None:
    assert provided.ask("a", model="closed").status_code == 429
    assert provided.session.failure.kind == "billing"
    assert re.fullmatch(
        r"anthropic limits this key until \d{4}-\d\d-\d\d \d\d:\d\d \w+: try later", provided.session.failure.message
    )


def test_a_failure_that_was_overcome_is_none(provided: Any) -> None:
    provided.ask("a", model="e401")
    assert provided.session.failure.kind == "authentication"
    provided.ask("a")
    assert provided.session.failure is None


def test_a_count_that_is_refused_is_no_failure_of_the_run(connect: Any) -> None:
    line = connect(
        provider_from("anthropic", {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "ANTHROPIC_API_KEY": "k-1234"})
    )
    assert line.post("/v1/messages/count_tokens", model="m", messages=[]).status_code == 502
    assert line.session.failure is None


@pytest.mark.parametrize(
    ("answered", "model", "hopeless"), [(False, "e401", True), (True, "e401", True), (False, "e500", False)]
)
def test_a_refused_key_is_hopeless_after_some_seconds(
    provided: Any, monkeypatch: pytest.MonkeyPatch, answered: bool, model: str, hopeless: bool
) -> None:
    if answered:
        provided.ask("a")
    provided.ask("a", model=model)
    assert provided.session.hopeless is None
    monkeypatch.setattr("runbook_runner.gateway.serve.session.HOPELESS_S", 0.0)
    assert (provided.session.hopeless is not None) == hopeless


@pytest.mark.parametrize("answered", [False, True])
def test_a_lost_network_is_hopeless_unless_the_model_had_answered(
    provided: Any, monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    if answered:
        provided.ask("a")
    provided.ask("a", model="moved")
    monkeypatch.setattr("runbook_runner.gateway.serve.session.HOPELESS_S", 0.0)
    assert (provided.session.hopeless is None) == answered


@pytest.mark.parametrize("model", ["day", "spent"])
def test_a_spent_quota_is_final_though_no_time_is_told(
    provided: Any, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    assert provided.ask("a", model=model).status_code == 429
    monkeypatch.setattr("runbook_runner.gateway.serve.session.HOPELESS_S", 0.0)
    assert provided.session.hopeless == GatewayFailure(
        "billing", "anthropic has no quota left for this key, from ANTHROPIC_API_KEY: You exceeded your quota"
    )


def test_redirect_is_not_handed_to_the_agent(provided: Any) -> None:
    response = provided.ask("a", model="moved")
    assert response.status_code == 502
    assert "it redirects (HTTP 307)" in response.text
    assert "location" not in response.headers


# --- secrets -------------------------------------------------------------------------------------------------------


def test_neither_key_nor_token_is_in_any_recorded_byte(
    provided: Any, key: str, leaks: Callable[[Path, str], list[str]]
) -> None:
    token = provided.session.token
    encoded = base64.b64encode(f"x{key} and {token}".encode()).decode()
    printed = f"ANTHROPIC_AUTH_TOKEN={token}\nKEY={key}\n{encoded}\n" + "filler " * 100
    for stream in (False, True):
        provided.ask(printed, stream=stream, system=printed, metadata={key: token}, model=f"m-{key}")
        provided.post(f"/v1/messages?x={token}", model="e529", messages=[{"role": "user", "content": printed}])
    provided.settled()
    assert len(provided.cassette.calls()) == 4
    assert leaks(provided.cassette.folder, key) == []
    assert leaks(provided.cassette.folder, token) == []
    events = "".join(event.model_dump_json() for event in provided.events)
    assert key not in events
    assert token not in events
    assert "***REDACTED:ANTHROPIC_API_KEY***" in json.dumps(provided.cassette.read(1).request)


def test_secret_that_the_model_streams_in_pieces_is_not_recorded(connect: Any, fake: Any) -> None:
    environ = {"ANTHROPIC_BASE_URL": fake.url, "ANTHROPIC_API_KEY": "k-1234"}
    line = connect(provider_from("anthropic", environ), secrets={"GREETING": "Grüße, world"})
    response = line.ask("a", stream=True)
    assert "Gr\\u00fc\\u00dfe, " in response.text
    recorded = line.cassette.read(1).response
    assert "***REDACTED:GREETING***" in recorded
    assert "world" not in recorded
    assert recorded.count("content_block_delta") == response.text.count("content_block_delta")
