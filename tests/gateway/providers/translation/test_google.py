"""Google behind the translation: what it is asked, and never asked, and what of its answers litellm can't read."""

import json
from typing import Any

import pytest

from runbook_runner.gateway import provider_from
from runbook_runner.gateway.cassette.answers import read_answer
from runbook_runner.gateway.providers.translation.schemas import schema_for_gemini

pytestmark = pytest.mark.needs("litellm")

CALL: dict[str, Any] = {"functionCall": {"name": "run"}}


def said(*parts: dict[str, Any]) -> dict[str, Any]:
    content = {"role": "model", "parts": list(parts)}
    usage = {"promptTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 18}
    return {"candidates": [{"content": content, "index": 0, "finishReason": "STOP"}], "usageMetadata": usage}


def test_no_cache_is_made_in_the_users_account(provider: Any, translated: Any) -> None:
    """litellm would ask for one before each call, beside the record and the budget; Google charges for keeping it."""
    fake = provider(said({"text": "hi"}))
    line = translated("google", fake, "anthropic")
    cached = {"type": "text", "text": "long " * 9000, "cache_control": {"type": "ephemeral"}}
    assert line.go(stream=False, system=[cached], messages=[{"role": "user", "content": [cached]}]).status_code == 200
    assert [path for path, _, _ in fake.requests] == ["/v1beta/models/gemini-2.5-flash:generateContent"]
    assert line.events[0].message.endswith("leaves out cache control")


@pytest.mark.parametrize("base", ["", "/", "/v1beta", "/v1beta/"])
def test_the_base_url_may_end_with_the_version(provider: Any, connect: Any, base: str) -> None:
    fake = provider(said({"text": "hi"}))
    environ = {"GOOGLE_GEMINI_BASE_URL": fake.url + base, "GEMINI_API_KEY": "key-12345678"}
    for dialect, path in (("anthropic", "/v1/messages"), ("gemini", "/v1beta/models/gemini-2.5-flash:generateContent")):
        line = connect(provider_from("google", environ, model="gemini-2.5-flash", dialect=dialect))
        body = {
            "messages": [{"role": "user", "content": "hi"}],
            "contents": [{"role": "user", "parts": [{"text": "x"}]}],
        }
        assert line.post(path, model="claude-haiku-4-5", max_tokens=9, **body).status_code == 200
    assert {path for path, _, _ in fake.requests} == {"/v1beta/models/gemini-2.5-flash:generateContent"}


@pytest.mark.parametrize("dialect", ["anthropic", "openai-chat", "openai-responses"])
@pytest.mark.parametrize("call", [CALL, {"functionCall": {"name": "run", "args": None}}])
def test_a_call_without_arguments_has_none(provider: Any, translated: Any, dialect: str, call: Any) -> None:
    streamed = translated("google", provider(f"data: {json.dumps(said(call))}\n\n".encode()), dialect).go()
    assert read_answer(dialect, streamed.text).calls == (("run", {}),)
    whole = translated("google", provider(said(call)), dialect).go(stream=False)
    assert read_answer(dialect, whole.json()).calls == (("run", {}),), whole.text


def test_an_error_of_litellm_is_told_without_its_traceback(provider: Any, translated: Any) -> None:
    answer = translated(
        "google", provider({"candidates": [{"content": {"parts": [{"functionCall": 3}]}}]}), "anthropic"
    )
    said = answer.go(stream=False).json()["error"]["message"]
    assert said
    assert "Traceback" not in said


@pytest.mark.parametrize(("schema", "converted"), [
    ({"const": "x"}, {"type": "string", "enum": ["x"]}),
    ({"const": 3}, {"type": "integer", "description": "Always 3."}),
    ({"type": "integer", "enum": [1, 2], "description": "How many."},
     {"type": "integer", "description": "How many. One of: 1, 2."}),
    ({"enum": ["a", None]}, {"description": "One of: a, None."}),
    ({"oneOf": [{"type": "string"}, {"const": "x"}]},
     {"anyOf": [{"type": "string"}, {"type": "string", "enum": ["x"]}]}),
    ({"description": "d", "allOf": [{"$ref": "#/$defs/P"}], "$defs": {"P": {"type": "object", "required": ["q"]}}},
     {"description": "d", "type": "object", "required": ["q"], "$defs": {"P": {"type": "object", "required": ["q"]}}}),
    ({"properties": {"a": {}}, "required": ["a"], "allOf": [{"properties": {"b": {}}, "required": ["b"]}]},
     {"properties": {"a": {}, "b": {}}, "required": ["a", "b"]}),
    ({"$defs": {"L": {"allOf": [{"$ref": "#/$defs/L"}, {"type": "object"}]}}}, {"$defs": {"L": {"type": "object"}}}),
    ({"properties": {"const": {"items": {"const": "x"}}}},
     {"properties": {"const": {"items": {"type": "string", "enum": ["x"]}}}}),
    ({"allOf": 3, "enum": "x", "items": True, "properties": []}, {"items": True, "properties": []}),
])  # fmt: skip
def test_schemas_of_tools_keep_their_meaning(schema: dict[str, Any], converted: dict[str, Any]) -> None:
    assert schema_for_gemini(schema) == converted


@pytest.mark.parametrize("dialect", ["anthropic", "openai-chat", "openai-responses"])
def test_google_gets_what_a_schema_means(provider: Any, translated: Any, dialect: str) -> None:
    fake = provider(said({"text": "hi"}))
    schema = {"type": "object", "properties": {"kind": {"const": "x"}, "n": {"oneOf": [{"type": "string"}]}}}
    tool = {
        "anthropic": {"name": "run", "input_schema": schema},
        "openai-chat": {"type": "function", "function": {"name": "run", "parameters": schema}},
        "openai-responses": {"type": "function", "name": "run", "parameters": schema},
    }
    assert translated("google", fake, dialect).go(stream=False, tools=[tool[dialect]]).status_code == 200
    ((declared,),) = (group["function_declarations"] for group in fake.sent["tools"])
    expected = {"kind": {"type": "string", "enum": ["x"]}, "n": {"anyOf": [{"type": "string"}]}}
    assert declared["parameters"]["properties"] == expected


def test_signatures_of_thinking_do_not_go_to_chat_servers(provider: Any, translated: Any) -> None:
    fake = provider({"error": {"message": "enough"}}, 400)
    thought = [
        {"type": "thinking", "thinking": "hm", "signature": "SIGNED"},
        {"type": "redacted_thinking", "data": "SIGNED"},
        {"type": "tool_use", "id": "toolu_1__thought__SIGNED", "name": "run", "input": {}},
    ]
    result = {"type": "tool_result", "tool_use_id": "toolu_1__thought__SIGNED", "content": "ok"}
    said = [("user", "go"), ("assistant", thought), ("user", [result])]
    translated("lm_studio", fake, "anthropic").go(messages=[{"role": role, "content": text} for role, text in said])
    assert "SIGNED" not in json.dumps(fake.sent)
    assert fake.sent["messages"][1]["reasoning_content"] == "hm"
